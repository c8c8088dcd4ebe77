#!lua flags=no-writes
-- Which logs of one partition moved since somebody looked.
--
-- KEYS  1 changed  2 moves      ARGV  the number of moves then
-- Gives {the number of moves now, name, …}.
local found = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[1], '+inf', 'BYSCORE')
table.insert(found, 1, tonumber(redis.call('GET', KEYS[2]) or '0'))
return found
