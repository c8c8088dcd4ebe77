#!lua flags=no-writes
-- Several queries answered from one view.
--
-- KEYS  1 meta  2 records  3 order
-- ARGV  now ('' = the server's clock), then for each query 'x', member or 'r', first member, last member, limit, '0' or '1' (descending)
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
    end
  end
end

local function range(first, last, limit, descending)
  local found = {}
  local low, high = '[' .. first, '[' .. last
  while #found < 2 * limit do
    local batch
    if descending then
      batch = redis.call('ZREVRANGEBYLEX', KEYS[3], high, low, 'LIMIT', 0, limit)
    else
      batch = redis.call('ZRANGEBYLEX', KEYS[3], low, high, 'LIMIT', 0, limit)
    end
    for _, member in ipairs(batch) do
      if #found < 2 * limit then add(found, member) end
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
    results[#results + 1] = range(ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4] == '1')
    at = at + 5
  end
end
return {{meta[1], tonumber(meta[2]), meta[3], tonumber(meta[4]), meta[5], tonumber(meta[6])}, now, results}
