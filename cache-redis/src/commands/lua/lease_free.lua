local KEYS, ARGV, call, byte = KEYS, ARGV, redis.call, string.byte
local stamps, indices = tonumber(ARGV[1]), ARGV[2]
local begun = history(KEYS[1])
local is_current, all_current = {}, true
for at = 1, stamps do
  is_current[at] = begun == ARGV[at * 2 + 2] and number(KEYS[at + 1]) == ARGV[at * 2 + 1]
  if is_current[at] then call('PEXPIRE', KEYS[at + 1], LIFE) else all_current = false end
end
local key, arg = stamps + 2, stamps * 2 + 3
local leases = key + #indices * 2 - 1
local life = ARGV[arg]
local all_free = call('EXISTS', unpack(KEYS, key, leases)) == 0
local replies, all_granted = {}, true
for at = 1, #indices do
  local is_granted = (all_current or is_current[byte(indices, at) + 1])
    and (all_free or call('EXISTS', KEYS[key], KEYS[key + 1]) == 0)
    and call('SET', KEYS[leases + at], ARGV[arg + at], 'NX', 'PX', life)
  if not is_granted then all_granted = false end
  replies[at] = is_granted and 1 or 0
  key = key + 2
end
return all_granted and 1 or replies
