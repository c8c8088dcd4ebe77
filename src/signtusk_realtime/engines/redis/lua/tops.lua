#!lua flags=no-writes
-- Where logs of one partition stand.
--
-- KEYS  meta, …      Gives {epoch, offset, tag, …}, with false for each where there is no such log.
local found = {}
for i, key in ipairs(KEYS) do
  local meta = redis.call('HMGET', key, 'e', 'o', 't')
  found[3 * i - 2] = meta[1]
  found[3 * i - 1] = meta[1] and tonumber(meta[2])
  found[3 * i] = meta[3]
end
return found
