#!lua flags=no-writes
-- Several queries answered from one view.
--
-- KEYS  1 meta  2 records  3 order
-- ARGV  now ('' = the server's clock), then for each query 'x', member or 'r', first member, last member, limit, '0' or '1' (descending),
-- most bytes ('' = any)
-- Gives {top, at, {{member, stored, …}, …}}, or false where there is no such log.
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 't', 'fo', 'ft', 'w')
if not meta[1] then return false end
local now = at(ARGV[1])

local function add(found, member)
  local stored = redis.call('HGET', KEYS[2], member)
  if stored then
    local expiry = string.match(stored, '^%d+;(%d*);')
    if expiry == '' or tonumber(expiry) > now then
      found[#found + 1] = member
      found[#found + 1] = stored
      return #stored - string.find(stored, ';', string.find(stored, ';', 1, true) + 1, true)
    end
  end
  return 0
end

local function range(first, last, limit, descending, most)
  local found, size = {}, 0
  local low, high = '[' .. first, '[' .. last
  while #found < 2 * limit do
    local batch
    if descending then
      batch = redis.call('ZREVRANGEBYLEX', KEYS[3], high, low, 'LIMIT', 0, limit)
    else
      batch = redis.call('ZRANGEBYLEX', KEYS[3], low, high, 'LIMIT', 0, limit)
    end
    for _, member in ipairs(batch) do
      if #found < 2 * limit then size = size + add(found, member) end
      if most and size >= most then return found end
    end
    if #batch < limit then break end
    if descending then high = '(' .. batch[#batch] else low = '(' .. batch[#batch] end
  end
  return found
end

local results, at = {}, 2
while at <= #ARGV do
  if ARGV[at] == 'x' then
    local found = {}
    add(found, ARGV[at + 1])
    results[#results + 1] = found
    at = at + 2
  else
    results[#results + 1] = range(ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4] == '1', tonumber(ARGV[at + 5]))
    at = at + 6
  end
end
return {{meta[1], tonumber(meta[2]), meta[3], tonumber(meta[4]), meta[5], tonumber(meta[6])}, now, results}
