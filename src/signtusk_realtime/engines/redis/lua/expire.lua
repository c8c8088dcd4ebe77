#!lua flags=allow-oom
-- Take away records of one log that have expired. One that was put anew meanwhile stays.
--
-- KEYS  1 records  2 order  3 expiries      ARGV  now ('' = the server's clock), encoded name, member, …
local now = at(ARGV[1])
for i = 3, #ARGV do
  local stored = redis.call('HGET', KEYS[1], ARGV[i])
  local expiry = stored and string.match(stored, '^%d+;(%d*);')
  if not stored or (expiry ~= '' and tonumber(expiry) <= now) then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[3], ARGV[2] .. ':' .. ARGV[i])
  end
end
return 0
