#!lua flags=allow-oom
-- Retention of one log, a step of it. A full server may do this too: it makes room.
--
-- KEYS  1 meta  2 entries  3 ids  4 due      ARGV  now ('' = the server's clock), name, age, count ('' = any), bytes
-- Gives 1 if more is due, else 0.
local STEP = 256
local now = at(ARGV[1])
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 'fo', 'ft', 'sz')
if not meta[1] then
  redis.call('ZREM', KEYS[4], ARGV[2])
  return 0
end
local offset, floor_offset, floor_tag, size = tonumber(meta[2]), tonumber(meta[3]), meta[4], tonumber(meta[5])
local cutoff, count, bytes = now - tonumber(ARGV[3]), tonumber(ARGV[4]) or math.huge, tonumber(ARGV[5])

local gone, oldest, is_done = {}, nil, false
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', STEP)) do
  local head, id, body = entry[2][2], entry[2][4], entry[2][6]
  local at = struct.unpack('>I8', head, 7)
  oldest = at
  if not (at < cutoff or offset - floor_offset > count or size > bytes) then
    is_done = true
    break
  end
  gone[#gone + 1] = id
  floor_offset = floor_offset + 1
  floor_tag = string.sub(head, 2, 6)
  size = size - #head - #id - #body
end
if #gone > 0 then
  redis.call('HDEL', KEYS[3], unpack(gone))
  redis.call('XTRIM', KEYS[2], 'MINID', string.format('%d-0', floor_offset + 1))
  redis.call('HSET', KEYS[1], 'fo', floor_offset, 'ft', floor_tag, 'sz', size)
end
if floor_offset == offset then
  redis.call('ZREM', KEYS[4], ARGV[2])
  return 0
end
redis.call('ZADD', KEYS[4], is_done and oldest or 0, ARGV[2])
return is_done and 0 or 1
