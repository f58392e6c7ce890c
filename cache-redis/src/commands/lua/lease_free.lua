local stamps = tonumber(ARGV[1])
local begun = history(KEYS[1])
local is_current, replies = {}, {}
for at = 1, stamps do
  is_current[at] = begun == ARGV[at * 2 + 1] and number(KEYS[at + 1]) == ARGV[at * 2]
  if is_current[at] then redis.call('PEXPIRE', KEYS[at + 1], LIFE) end
end
local first = stamps + 2
local all_free = redis.call('EXISTS', unpack(KEYS, first)) == 0
local taken = {}
local arg = stamps * 2 + 2
for key = first, #KEYS, 3 do
  local lease = KEYS[key + 1]
  local is_free = is_current[tonumber(ARGV[arg])] and not taken[lease]
    and (all_free or redis.call('EXISTS', KEYS[key], lease, KEYS[key + 2]) == 0)
  if is_free then
    redis.call('SET', lease, ARGV[arg + 1], 'PX', ARGV[arg + 2])
    taken[lease] = true
  end
  replies[#replies + 1] = is_free and 1 or 0
  arg = arg + 3
end
return replies
