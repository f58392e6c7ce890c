local stamps = tonumber(ARGV[1])
local begun = history(KEYS[1])
local refusal, replies = {}, {}
for at = 1, stamps do
  if begun ~= ARGV[at * 2 + 1] then
    refusal[at] = 'history'
  elseif number(KEYS[at + 2]) ~= ARGV[at * 2] then
    refusal[at] = 'function'
  end
end
local arg = stamps * 2 + 2
for key = stamps + 3, #KEYS, 2 do
  local reply = refusal[tonumber(ARGV[arg])]
  if not reply then
    local held = text(KEYS[key + 1])
    local waited = held == ARGV[arg + 1] .. 'w'
    if not waited and held ~= ARGV[arg + 1] then
      reply = 'lease'
    else
      reply = redis.pcall('SET', KEYS[key], ARGV[arg + 2], 'PX', ARGV[arg + 3])
      if not reply.err then
        reply = 'stored'
        redis.call('DEL', KEYS[key + 1])
        if waited then publish(KEYS[2], 'f:' .. ARGV[arg + 4]) end
      end
    end
  end
  replies[#replies + 1] = reply
  arg = arg + 5
end
return replies
