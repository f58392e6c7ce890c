local KEYS, ARGV, pcall, byte = KEYS, ARGV, redis.pcall, string.byte
local stamps, indices = tonumber(ARGV[1]), ARGV[2]
local begun = history(KEYS[1])
local refusal = {}
for at = 1, stamps do
  if begun ~= ARGV[at * 2 + 2] then
    refusal[at] = 'history'
  elseif number(KEYS[at + 2]) ~= ARGV[at * 2 + 1] then
    refusal[at] = 'function'
  end
end
local all_current = next(refusal) == nil
local key, arg = stamps + 3, stamps * 2 + 3
local digests = ARGV[arg]
local replies, all_stored, has_ended, ended, awaited = {}, true, {}, {}, {}
for at = 1, #indices do
  local lease, text = KEYS[key + 1], ARGV[arg + 1]
  local reply = not all_current and refusal[byte(indices, at) + 1]
  if not reply then
    local held = pcall('GETRANGE', lease, '0', '199')
    if has_ended[lease] or held ~= text and held ~= text .. 'w' then
      reply = 'lease'
    else
      local set = pcall('SET', KEYS[key], ARGV[arg + 2], 'PX', ARGV[arg + 3])
      if set.err then
        reply = set
      else
        has_ended[lease] = true
        ended[#ended + 1] = lease
        if held ~= text then
          local digest = string.sub(digests, at * 20 - 19, at * 20)
          awaited[#awaited + 1] = string.match(digest, '^0*(%d+)$')
        end
      end
    end
  end
  if reply then all_stored = false end
  replies[at] = reply or 'stored'
  key, arg = key + 2, arg + 3
end
if #ended > 0 then redis.call('DEL', unpack(ended)) end
for _, digest in ipairs(awaited) do publish(KEYS[2], 'f:' .. digest) end
return all_stored and 1 or replies
