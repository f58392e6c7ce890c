redis.call('DEL', KEYS[1])
begin_ledger(KEYS[3], KEYS[4], KEYS[2], ARGV[1], 'a')
audit(KEYS[5], ARGV[2], ARGV[3], ARGV[4])
return 1
