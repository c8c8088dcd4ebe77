#!lua flags=allow-oom
-- Erase a log and its records, and tell those who follow that this life of it has ended.
--
-- KEYS  1 meta  2 entries  3 ids  4 records  5 order  6 channel  7 logs  8 changed  9 due      ARGV  confirmations, name
-- Gives 1, or 0 where there was none. What is left in `expiries` names nothing and goes when it is due.
local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
for i = 7, 9 do redis.call('ZREM', KEYS[i], ARGV[2]) end
redis.call('SPUBLISH', KEYS[6], 'f' .. epoch)
return 1
