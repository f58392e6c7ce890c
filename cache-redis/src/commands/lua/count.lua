redis.call('DEL', KEYS[1], KEYS[2])
local sequence, ledger, old = KEYS[3], KEYS[4], KEYS[5]
local base, count = mark(ledger, old, sequence, ARGV[2])
local fields = tonumber(ARGV[4])
if redis.call('HLEN', ledger) + fields > MOST_FIELDS then
  redis.call('UNLINK', old)
  redis.call('RENAME', ledger, old)
  redis.call('HSET', ledger, 'b', base, 'n', count, 'f', count)
  redis.call('PEXPIRE', ledger, LIFE)
  publish(sequence, 'g:' .. base .. ':' .. count)
end
local number = string.format('%d', redis.call('HINCRBY', ledger, 'n', 1))
local set = {}
for at = 1, fields do
  set[at * 2 - 1] = ARGV[at + 4]
  set[at * 2] = number
end
redis.call('HSET', ledger, unpack(set))
publish(sequence, ARGV[1] .. ':' .. base .. ':' .. number .. ':' .. ARGV[3])
audit(KEYS[6], ARGV[fields + 5], ARGV[fields + 6], ARGV[fields + 7])
return {base, number}
