local stamps = tonumber(ARGV[1])
local begun = history(KEYS[1])
local refusal, replies, ended, awaited = {}, {}, {}, {}
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
        ended[#ended + 1] = KEYS[key + 1]
        if waited then awaited[#awaited + 1] = ARGV[arg + 4] end
      end
    end
  end
  replies[#replies + 1] = reply
  arg = arg + 5
end
if #ended > 0 then redis.call('DEL', unpack(ended)) end
for _, digest in ipairs(awaited) do publish(KEYS[2], 'f:' .. digest) end
return replies
