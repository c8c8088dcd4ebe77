#!lua
-- One commit, whole or not at all. What is refused is found before anything is written: a script is not rolled back.
--
-- KEYS  1 meta  2 entries  3 ids  4 records  5 order  6 channel  7 logs  8 changed  9 moves  10 due  11 expiries
-- ARGV  confirmations, now ('' = the server's clock), name, encoded name, fresh epoch, wanted epoch ('' = any), count ('' = any), bytes, then
--       n, n times (id, digest, keys, body)   n, n times (member, version)   n, n times (member, version, expiry, value)   n, n times (member)
-- Gives {'c', at, top, {offset, tag, duplicate, …}}, {'s', at, top, {number of the expectation, …}} or {'r', {number of the draft, …}}.
local ORIGIN = string.rep('\0', 5)
local HINT_BYTES = 262144

local function chain(tag, id)
  local hex = redis.sha1hex(tag .. id)
  local bytes = {}
  for i = 1, 9, 2 do bytes[#bytes + 1] = string.char(tonumber(string.sub(hex, i, i + 1), 16)) end
  return table.concat(bytes)
end

local function version_of(member, now)
  local stored = redis.call('HGET', KEYS[4], member)
  if not stored then return '0' end
  local version, expiry = string.match(stored, '^(%d+);(%d*);')
  if expiry ~= '' and tonumber(expiry) <= now then return '0' end
  return version
end

local confirmations, name, encoded, wanted = tonumber(ARGV[1]), ARGV[3], ARGV[4], ARGV[6]
local now = at(ARGV[2])
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 't', 'fo', 'ft', 'w', 'sz')
local epoch, offset, tag = meta[1], tonumber(meta[2]), meta[3]
local floor_offset, floor_tag, writes, size = tonumber(meta[4]), meta[5], tonumber(meta[6]), tonumber(meta[7])
local wrote = false
if not epoch then
  -- What a life left behind whose end took only this key stands in the way of the next, and would be answered as if it were in it.
  redis.call('UNLINK', KEYS[2], KEYS[3])
  epoch, offset, tag, floor_offset, floor_tag, writes, size = ARGV[5], 0, ORIGIN, 0, ORIGIN, 0, 0
  redis.call('HSET', KEYS[1], 'e', epoch, 'o', 0, 't', tag, 'fo', 0, 'ft', floor_tag, 'w', 0, 'sz', 0)
  redis.call('ZADD', KEYS[7], 0, name)
  wrote = true
end

local function top() return {epoch, offset, tag, floor_offset, floor_tag, writes} end

-- WAIT counts the writes of its own connection, so what was only looked at is confirmed by writing what is there already.
local function touched()
  if confirmations > 0 and not wrote then redis.call('HSET', KEYS[1], 'e', epoch) end
end

local at = 9
local function section(width)
  local first, n = at + 1, tonumber(ARGV[at])
  at = first + n * width
  return first, n
end
local drafts, draft_count = section(4)
local expects, expect_count = section(2)
local puts, put_count = section(4)
local deletes, delete_count = section(1)

local known, first_digest, reused, named = {}, {}, {}, {}
for i = 0, draft_count - 1 do
  local id, digest = ARGV[drafts + 4 * i], ARGV[drafts + 4 * i + 1]
  local place = known[id]
  if place == nil then
    place = redis.call('HGET', KEYS[3], id)
    -- A script that failed half-way may have left ids of what is in no log.
    if place and struct.unpack('>I8', place) > offset then place = false end
    known[id] = place
  end
  local expected
  if place then
    expected = string.sub(place, 14)
  else
    expected = first_digest[id] or digest
    first_digest[id] = expected
  end
  if expected ~= digest and not named[id] then
    named[id] = true
    reused[#reused + 1] = i
  end
end
if #reused > 0 then
  touched()
  return {'r', reused}
end

local placed = {}
local function answer_place(where, place, duplicate)
  placed[#placed + 1] = where
  placed[#placed + 1] = place
  placed[#placed + 1] = duplicate
end
local function answer_known(place)
  answer_place(struct.unpack('>I8', place), string.sub(place, 9, 13), 1)
end

if put_count + delete_count > 0 and draft_count > 0 and known[ARGV[drafts]] then
  for i = 0, draft_count - 1 do
    local place = known[ARGV[drafts + 4 * i]]
    if place then answer_known(place) else answer_place(0, ORIGIN, 0) end
  end
  touched()
  return {'c', now, top(), placed}
end

if wanted ~= '' and wanted ~= epoch then
  touched()
  return {'s', now, top(), {}}
end
local missed = {}
for i = 0, expect_count - 1 do
  if version_of(ARGV[expects + 2 * i], now) ~= ARGV[expects + 2 * i + 1] then missed[#missed + 1] = i end
end
if #missed > 0 then
  touched()
  return {'s', now, top(), missed}
end

local first_new, hint, hint_bytes = offset + 1, {}, 0
for i = 0, draft_count - 1 do
  local id, digest = ARGV[drafts + 4 * i], ARGV[drafts + 4 * i + 1]
  local place = known[id]
  if place then
    answer_known(place)
  else
    local keys, body = ARGV[drafts + 4 * i + 2], ARGV[drafts + 4 * i + 3]
    offset = offset + 1
    tag = chain(tag, id)
    place = struct.pack('>I8', offset) .. tag .. digest
    known[id] = place
    local head = '\1' .. tag .. struct.pack('>I8', now) .. digest .. keys
    -- The entry first: what fails here is known by no id.
    redis.call('XADD', KEYS[2], string.format('%d-0', offset), 'h', head, 'i', id, 'b', body)
    redis.call('HSET', KEYS[3], id, place)
    size = size + #head + #id + #body
    hint_bytes = hint_bytes + #head + #id + #body
    if hint_bytes <= HINT_BYTES then
      hint[#hint + 1] = struct.pack('>I8I4I4I4', offset, #head, #id, #body) .. head .. id .. body
    end
    answer_place(offset, tag, 0)
  end
end
for i = 0, put_count - 1 do
  local member, expiry = ARGV[puts + 4 * i], ARGV[puts + 4 * i + 2]
  redis.call('HSET', KEYS[4], member, ARGV[puts + 4 * i + 1] .. ';' .. expiry .. ';' .. ARGV[puts + 4 * i + 3])
  redis.call('ZADD', KEYS[5], 0, member)
  if expiry ~= '' then
    redis.call('ZADD', KEYS[11], expiry, encoded .. ':' .. member)
  else
    redis.call('ZREM', KEYS[11], encoded .. ':' .. member)
  end
end
for i = 0, delete_count - 1 do
  local member = ARGV[deletes + i]
  redis.call('HDEL', KEYS[4], member)
  redis.call('ZREM', KEYS[5], member)
  redis.call('ZREM', KEYS[11], encoded .. ':' .. member)
end
if put_count + delete_count > 0 or offset >= first_new then
  -- Who reads learns by this number whether there is anything that he does not know to be confirmed.
  writes = redis.call('HINCRBY', KEYS[1], 'w', 1)
  wrote = true
end

if offset >= first_new then
  redis.call('HSET', KEYS[1], 'o', offset, 't', tag, 'sz', size)
  redis.call('ZADD', KEYS[8], redis.call('INCR', KEYS[9]), name)
  if (ARGV[7] ~= '' and offset - floor_offset > tonumber(ARGV[7])) or size > tonumber(ARGV[8]) then
    redis.call('ZADD', KEYS[10], 0, name)
  elseif first_new - 1 == floor_offset then
    redis.call('ZADD', KEYS[10], now, name)
  end
  -- What no replica has yet is a hint: it may be kept ready, not shown.
  local confirmed = confirmations > 0 and '\0' or '\1'
  redis.call('SPUBLISH', KEYS[6], 'h' .. epoch .. struct.pack('>I8', offset) .. tag .. confirmed .. table.concat(hint))
end
touched()
return {'c', now, top(), placed}
