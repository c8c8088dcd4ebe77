#!lua flags=no-writes
-- What of one partition has to go: logs whose oldest entry is older than the age, records that have expired; some of each.
--
-- KEYS  1 due  2 expiries      ARGV  now ('' = the server's clock), age
-- Gives {{name, …}, {entry of expiries, …}}.
local STEP = 256
local now = at(ARGV[1])
return {
  redis.call('ZRANGE', KEYS[1], '-inf', string.format('(%d', now - tonumber(ARGV[2])), 'BYSCORE', 'LIMIT', 0, STEP),
  redis.call('ZRANGE', KEYS[2], '-inf', string.format('%d', now), 'BYSCORE', 'LIMIT', 0, STEP),
}
