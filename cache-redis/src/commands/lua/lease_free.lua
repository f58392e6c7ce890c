local stamps = tonumber(ARGV[1])
local begun = history(KEYS[1])
local is_current, replies = {}, {}
for at = 1, stamps do
  is_current[at] = begun == ARGV[at * 2 + 1] and number(KEYS[at + 1]) == ARGV[at * 2]
  if is_current[at] then redis.call('PEXPIRE', KEYS[at + 1], LIFE) end
end
local arg = stamps * 2 + 2
for key = stamps + 2, #KEYS, 3 do
  local is_free = is_current[tonumber(ARGV[arg])] and redis.call('EXISTS', KEYS[key], KEYS[key + 1], KEYS[key + 2]) == 0
  if is_free then redis.call('SET', KEYS[key + 1], ARGV[arg + 1], 'PX', ARGV[arg + 2]) end
  replies[#replies + 1] = is_free and 1 or 0
  arg = arg + 3
end
return replies
