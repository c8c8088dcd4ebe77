#!lua flags=allow-oom
-- Take away records of one log that have expired. One that was put anew meanwhile stays.
--
-- KEYS  1 records  2 order  3 expiries      ARGV  now ('' = the server's clock), encoded name, member, …
local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
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
