local functions = tonumber(ARGV[2])
local is_history = history(KEYS[1]) == ARGV[1]
local is_epoch = {}
for at = 1, functions do is_epoch[at] = number(KEYS[at + 2]) == ARGV[at + 2] end
local names, replies, ended, awaited = {}, {}, {}, {}
for at = functions + 4, #KEYS, 2 do names[#names + 1] = KEYS[at] end
local leases = redis.call('MGET', unpack(names))
for at, name in ipairs(names) do
  local arg = functions + at * 5 - 2
  local waited = leases[at] == ARGV[arg + 1] .. 'w'
  if not is_history then
    replies[at] = 'history'
  elseif not is_epoch[tonumber(ARGV[arg])] then
    replies[at] = 'function'
  elseif not (waited or leases[at] == ARGV[arg + 1]) then
    replies[at] = 'lease'
  else
    local stored = redis.pcall('SET', KEYS[functions + at * 2 + 1], ARGV[arg + 2], 'PX', ARGV[arg + 3])
    if stored.err then
      replies[at] = stored
    else
      replies[at] = 'stored'
      ended[#ended + 1] = name
      if waited then awaited[#awaited + 1] = ARGV[arg + 4] end
    end
  end
end
if #ended > 0 then redis.call('DEL', unpack(ended)) end
for _, digest in ipairs(awaited) do publish(KEYS[2], 'f:' .. digest) end
return replies
