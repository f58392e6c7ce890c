local stamps = tonumber(ARGV[1])
local begun = history(KEYS[1])
local refusal, names, replies, ended, awaited = {}, {}, {}, {}, {}
for at = 1, stamps do
  if begun ~= ARGV[at * 2 + 1] then
    refusal[at] = 'history'
  elseif number(KEYS[at + 2]) ~= ARGV[at * 2] then
    refusal[at] = 'function'
  end
end
for key = stamps + 4, #KEYS, 2 do names[#names + 1] = KEYS[key] end
local held = {}
for _, name in ipairs(names) do held[name] = text(name) end
local arg = stamps * 2 + 2
for at, name in ipairs(names) do
  local reply = refusal[tonumber(ARGV[arg])]
  if not reply then
    local waited = held[name] == ARGV[arg + 1] .. 'w'
    if not waited and held[name] ~= ARGV[arg + 1] then
      reply = 'lease'
    else
      reply = redis.pcall('SET', KEYS[stamps + at * 2 + 1], ARGV[arg + 2], 'PX', ARGV[arg + 3])
      if not reply.err then
        reply = 'stored'
        held[name] = nil
        ended[#ended + 1] = name
        if waited then awaited[#awaited + 1] = ARGV[arg + 4] end
      end
    end
  end
  replies[at] = reply
  arg = arg + 5
end
if #ended > 0 then redis.call('DEL', unpack(ended)) end
for _, digest in ipairs(awaited) do publish(KEYS[2], 'f:' .. digest) end
return replies
