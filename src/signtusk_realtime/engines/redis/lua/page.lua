#!lua flags=no-writes
-- Entries after an offset, oldest first, until their bodies exceed the bytes asked for; at least one if there is one.
--
-- KEYS  1 meta  2 entries      ARGV  after, bytes
-- Gives {top, first offset, {head, id, body, …}}, or false where there is no such log.
local BATCH = 128
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 't', 'fo', 'ft', 'w')
if not meta[1] then return false end
local top = {meta[1], tonumber(meta[2]), meta[3], tonumber(meta[4]), meta[5], tonumber(meta[6])}
local after, bytes = math.max(tonumber(ARGV[1]), top[4]), tonumber(ARGV[2])
local first, found, size = after + 1, {}, 0
while after < top[2] do
  local batch = redis.call('XRANGE', KEYS[2], string.format('%d-0', after + 1), '+', 'COUNT', BATCH)
  for _, entry in ipairs(batch) do
    local fields = entry[2]
    size = size + #fields[6]
    if #found > 0 and size > bytes then return {top, first, found} end
    found[#found + 1] = fields[2]
    found[#found + 1] = fields[4]
    found[#found + 1] = fields[6]
    after = after + 1
  end
  if #batch < BATCH then break end
end
return {top, first, found}
