#!lua flags=allow-oom
-- Write what is there already, so that waiting for this write waits for everything that was read before it.
--
-- KEYS  1 meta      ARGV  confirmations, epoch
-- Gives 1, or 0 where that life of the log has ended.
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'e', ARGV[2])
return 1
