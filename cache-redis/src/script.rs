//! The Lua scripts. Each runs as one step on the server and costs one round trip (EVALSHA). Their
//! texts are sent when a link is made, and again by the first call that the server answers with
//! NOSCRIPT. All keys of a script and the channel are in one slot.
//!
//! Foreign text or another type under a key of this cache is treated as a missing key and replaced.

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};

/// Index of the last byte that is read of an epoch, a history, a lease or the sequence: each is
/// shorter, and a foreign string may be long. `text` has it too.
pub(crate) const LONGEST_TEXT: usize = 199;

/// Functions that several scripts use.
///
/// A lease is `<token>:<epoch>:<history>:<kind>`: the epoch and the history as of when it was given;
/// `x` if other callers wait for it, `s` if they share it; and a `w` at the end once somebody waits.
/// It is valid as long as epoch and history are unchanged. A history is
/// `<number>:<identity of the server it was begun on>`.
///
/// A message is `<number>:<kind>:<subject>`. The sequence counts messages without gaps. If the
/// sequence is missing (evicted, flushed) or foreign, it begins anew at the microseconds of the
/// server's clock, and a message of kind `s` with that number says so. That is more than any number
/// it had before, as long as fewer than a million messages are sent a second and the clock is not
/// set back, so a number stands for one state of the control keys only: a restoration or a lease
/// request that compares numbers cannot match a later state. (A clock that is set back makes the
/// other instances see a number that went back, and they begin a new history.)
///
/// The last argument of every script that publishes is the channel. It is not a key: as a key it
/// would never exist, and a cluster refuses scripts that miss some of their keys while it migrates
/// the slot.
///
/// `guarded` deletes a guards key only if it is of another type. If the user may not remove expired
/// guards, it treats them as valid: no guard is broken by an instance that lacks a permission.
const COMMON: &str = "
local LIFE = 31622400000
local function text(key)
  local text = redis.pcall('GETRANGE', key, 0, 199)
  if type(text) == 'string' then return text end
  return ''
end
local function lease(key)
  local token, epoch, history, kind, waited = string.match(text(key), '^([1-9]%d*):(%d*):(%d*):([xs])(w?)$')
  if token and #token <= 19 then return token, waited == 'w', kind, epoch, history end
  return nil, false
end
local function number(key)
  local number = string.match(text(key), '^([1-9]%d*)$')
  if number and #number <= 19 then return number end
  return nil
end
local function history(key)
  return string.match(text(key), '^([1-9]%d*):')
end
local function foreign(answer)
  return type(answer) == 'table' and string.find(answer.err or '', 'WRONGTYPE', 1, true) ~= nil
end
local function guarded(key)
  if redis.call('EXISTS', key) ~= 1 then return false end
  local time = redis.call('TIME')
  local over = redis.pcall('ZREMRANGEBYSCORE', key, '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
  if foreign(over) then redis.call('DEL', key) end
  return redis.call('EXISTS', key) == 1
end
local CHANNEL = ARGV[#ARGV]
local function last_message(sequence)
  local last = number(sequence)
  if last and tonumber(last) <= 2 ^ 52 then return last end
  return nil
end
local function begin_sequence(sequence)
  local time = redis.call('TIME')
  local number = string.format('%d', time[1] * 1000000 + time[2])
  redis.call('DEL', sequence)
  redis.call('SET', sequence, number, 'PX', LIFE)
  redis.call('SPUBLISH', CHANNEL, number .. ':s:0')
end
local function publish(sequence, message)
  local count = redis.pcall('INCR', sequence)
  if type(count) ~= 'number' or count < 2 or count > 2 ^ 52 then
    begin_sequence(sequence)
    count = redis.call('INCR', sequence)
  end
  redis.call('PEXPIRE', sequence, LIFE)
  redis.call('SPUBLISH', CHANNEL, string.format('%d:', count) .. message)
end
local function audit(stream, who, what, most)
  if stream then redis.pcall('XADD', stream, 'MAXLEN', '~', most, '*', 'who', who, 'what', what) end
end
";

/// Compares the server with the one that the history was begun on. Another server begins a new
/// history, in which no earlier record is valid; so does a data set that went back: one whose
/// sequence is smaller than what the caller has heard on this server (SWAPDB, keys that were
/// restored). A missing sequence begins anew, so every instance knows from its attachment on which
/// message is next.
///
/// KEYS history, sequence. ARGV identity, new number, last message that was heard on this server,
/// channel. Returns the history's number, the number of the last message, and 1 if the history is
/// new.
const ATTACH: &str = "
local known, identity = string.match(text(KEYS[1]), '^([1-9]%d*):(.*)$')
local fresh = 0
local last = tonumber(last_message(KEYS[2]) or '')
local went_back = last and last < tonumber(ARGV[3])
if went_back then redis.call('DEL', KEYS[2]) end
if identity ~= ARGV[1] or went_back then
  fresh = 1
  known = ARGV[2]
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], known .. ':' .. ARGV[1], 'PX', LIFE)
  publish(KEYS[2], 'h:' .. known)
else
  redis.call('PEXPIRE', KEYS[1], LIFE)
  if not last then begin_sequence(KEYS[2]) end
end
return {known, text(KEYS[2]), fresh}
";

/// Reads a record whose value the caller may have: only its first 84 bytes if it has this seal.
///
/// KEYS record, epoch, history. ARGV seal, index of the last byte to be read. Returns the record or
/// its beginning (empty if there is none, nil if it is not a string), epoch, history with identity.
const READ: &str = "
local record = redis.pcall('GETRANGE', KEYS[1], 0, 83)
if type(record) ~= 'string' then
  record = false
elseif string.sub(record, 77, 84) ~= ARGV[1] then
  record = redis.call('GETRANGE', KEYS[1], 0, ARGV[2])
end
return {record, text(KEYS[2]), text(KEYS[3])}
";

/// Takes a lease.
///
/// A lease is a token under a key of its own, which an invalidation deletes. The function's epoch is read in the same step,
/// and made where there is none. Who asks for the only one takes the place of those who share, whose fills are refused then:
/// they did not look whether there is a record.
///
/// Where the key is guarded there is none to be had.
///
/// This cache writes no lease without an expiry, so one without is replaced at once. A lease that
/// expires later than the caller's own would (the clock was set back, a dump was restored) is cut
/// to that: a live holder renews it, and nobody waits longer for a dead one.
///
/// An evicted epoch is restored if the caller knows it and has heard every message: otherwise the
/// function may have been invalidated since. An evicted history is restored after a barrier.
///
/// KEYS record, lease, epoch, history, guards, sequence. ARGV claim (`only`, `share`, `takeover`,
/// `look`), new token, life of the lease in ms, new epoch, number of the history, beginning of the
/// record that was seen, epoch that the caller knows or nothing, last message that it has heard.
/// Returns `given`, token, epoch; or `free` to a look, which takes nothing; or `taken` and the ms
/// until the lease expires, zero if the record is another by now; or `history` if the history is
/// not the current one, or was flushed with the sequence; `evicted` if it alone is missing; or
/// `guarded`.
const LEASE: &str = "
local current = history(KEYS[4])
if current ~= ARGV[5] then return {(current or not last_message(KEYS[6])) and 'history' or 'evicted'} end
if guarded(KEYS[5]) then return {'guarded'} end
if ARGV[1] == 'look' then return {'free'} end
local known = number(KEYS[3])
if not known and ARGV[7] ~= '' and last_message(KEYS[6]) == ARGV[8] then known = ARGV[7] end
local held, waited, kind, epoch, begun = lease(KEYS[2])
if not known or epoch ~= known or begun ~= ARGV[5] then held = nil end
local left = held and redis.call('PTTL', KEYS[2]) or 0
if left < 0 then held = nil end
if ARGV[1] == 'only' then
  local record = redis.pcall('GETRANGE', KEYS[1], 0, 83)
  if type(record) == 'string' and record ~= '' and record ~= ARGV[6] then return {'taken', 0} end
  if held and kind == 'x' then
    if not waited then redis.call('APPEND', KEYS[2], 'w') end
    local most = tonumber(ARGV[3])
    if left > most then redis.call('PEXPIRE', KEYS[2], most) end
    return {'taken', math.max(math.min(left, most), 1)}
  end
elseif ARGV[1] == 'share' and held then
  return {'given', held, known}
end
known = known or ARGV[4]
redis.call('SET', KEYS[3], known, 'PX', LIFE)
local kept = ARGV[1] == 'share' and 's' or 'x'
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. known .. ':' .. ARGV[5] .. ':' .. kept .. (waited and 'w' or ''), 'PX', ARGV[3])
return {'given', ARGV[2], known}
";

/// Stores a record if its lease, its function's epoch and the history are still what they were before the load. A lease that
/// is gone (voided, expired, evicted, lost with the server) refuses.
///
/// KEYS record, lease, epoch, history, sequence. ARGV token, epoch, number of the history, record,
/// life in ms, digest of the key, channel. Returns `stored`, or which of them is another: `lease`,
/// `function`, `history`.
const FILL: &str = "
local held, waited = lease(KEYS[2])
if history(KEYS[4]) ~= ARGV[3] then return 'history' end
if number(KEYS[3]) ~= ARGV[2] then return 'function' end
if held ~= ARGV[1] then return 'lease' end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
redis.call('DEL', KEYS[2])
if waited then publish(KEYS[5], 'f:' .. ARGV[6]) end
return 'stored'
";

/// Restores control keys that were evicted, unless a message was published that the caller has not
/// heard: it may have changed them. The number of the last message tells. If the sequence is missing,
/// nothing tells; then it begins anew and nothing else is restored. The caller hears where it begins,
/// and restores the other keys after its next barrier.
///
/// KEYS sequence, history, epochs. ARGV last message that was heard, history with identity, an epoch
/// for each, channel. Returns 1 if the missing keys were restored.
const RESTORE: &str = "
local last = last_message(KEYS[1])
if not last then
  begin_sequence(KEYS[1])
  return 0
end
if last ~= ARGV[1] then return 0 end
if not history(KEYS[2]) then redis.call('SET', KEYS[2], ARGV[2], 'PX', LIFE) end
for at = 3, #KEYS do
  if not number(KEYS[at]) then redis.call('SET', KEYS[at], ARGV[at], 'PX', LIFE) end
end
return 1
";

/// Releases a lease.
///
/// KEYS lease, sequence. ARGV token, digest of the key, kind of the message to waiters (`r`, or `x`
/// if the load failed), channel.
const RELEASE: &str = "
local held, waited = lease(KEYS[1])
if held ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if waited then publish(KEYS[2], ARGV[3] .. ':' .. ARGV[2]) end
return 1
";

/// Lets a lease live on.
///
/// KEYS lease. ARGV token, life in ms. Returns 1 if it was still held.
const RENEW: &str = "
if lease(KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

/// Tells whether a wait for a lease closes a ring of loads that wait for each other, and notes the wait.
///
/// The waits are edges of a graph, from a lease that is held to one that is waited for, in a hash beside the former. An
/// edge names the tokens of both, so it ends with either lease. The edges are added and the graph is searched in one
/// step: of the callers that close a ring exactly one is told so, and its edges are removed, since it does not wait.
///
/// KEYS lease that is waited for; then, for each lease that cannot end before the wait does: lease, its waits. ARGV life of
/// the edges in ms, then the token of each of those leases. Returns `present` or `absent`.
const DEADLOCK: &str = "
local awaited = lease(KEYS[1])
if not awaited then return 'absent' end
local held = {}
for at = 2, #KEYS, 2 do
  local token = ARGV[at / 2 + 1]
  if lease(KEYS[at]) == token then
    held[KEYS[at]] = KEYS[at + 1]
    local edge = token .. ':' .. awaited
    if type(redis.pcall('HSET', KEYS[at + 1], KEYS[1], edge)) ~= 'number' then
      redis.call('DEL', KEYS[at + 1])
      redis.call('HSET', KEYS[at + 1], KEYS[1], edge)
    end
    redis.call('PEXPIRE', KEYS[at + 1], ARGV[1])
  end
end
local open, seen = {KEYS[1]}, {}
while #open > 0 do
  local at = table.remove(open)
  if held[at] then
    for _, waits in pairs(held) do redis.call('HDEL', waits, KEYS[1]) end
    return 'present'
  end
  if not seen[at] then
    seen[at] = true
    local token = lease(at)
    local waits = redis.call('HGETALL', (string.gsub(at, '#lease$', '#waits')))
    for index = 1, #waits, 2 do
      local own, other = string.match(waits[index + 1], '^(%d+):(%d+)$')
      if own == token and other and lease(waits[index]) == other then open[#open + 1] = waits[index] end
    end
  end
end
return 'absent'
";

/// Invalidates a key. What is deleted comes first: a server out of memory refuses a script whose first write may take some,
/// and lets one go on that began with a deletion.
///
/// KEYS record, lease, sequence, and the audit's stream if there is one. ARGV digest of the key; who,
/// what and the stream's length, if there is one; channel.
const INVALIDATE_KEY: &str = "
redis.call('DEL', KEYS[1], KEYS[2])
publish(KEYS[3], 'k:' .. ARGV[1])
audit(KEYS[4], ARGV[2], ARGV[3], ARGV[4])
return 1
";

/// Guards a key, or goes on guarding it. The guards are a set with a time each, so that several may be there; what it does
/// to an invalidation's place, it does when it is new.
///
/// KEYS record, lease, guards, sequence. ARGV guard, its life in ms, digest of the key, channel.
/// Returns 1 if it is new.
const GUARD: &str = "
local score = redis.pcall('ZSCORE', KEYS[3], ARGV[1])
if foreign(score) then redis.call('DEL', KEYS[3]) end
local is_new = type(score) ~= 'string'
if is_new then redis.call('DEL', KEYS[1], KEYS[2]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[3], ARGV[2]) end
if is_new then
  publish(KEYS[4], 'k:' .. ARGV[3])
  return 1
end
return 0
";

/// Ends a guard.
///
/// KEYS guards. ARGV guard.
const UNGUARD: &str = "
redis.pcall('ZREM', KEYS[1], ARGV[1])
return 1
";

/// Invalidates a function: its records and the fills under its leases name the old epoch.
///
/// KEYS epoch, sequence, and the audit's stream if there is one. ARGV new epoch, digest of the
/// function; who, what and the stream's length, if there is one; channel.
const INVALIDATE_FUNCTION: &str = "
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', LIFE)
publish(KEYS[2], 'e:' .. ARGV[2])
audit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
return 1
";

/// Has every instance drop what its memory has of a function, whose records stay.
///
/// KEYS heartbeat, sequence. ARGV digest of the function, channel. (The heartbeat is written again
/// within a second. It is deleted because the first write of a script on a full server must be one
/// that takes no memory.)
const FORGET: &str = "
redis.call('DEL', KEYS[1])
publish(KEYS[2], 'e:' .. ARGV[1])
return 1
";

/// Writes down what is about to be invalidated in more than one step.
///
/// KEYS stream. ARGV who, what and how many.
const NOTE: &str = "
audit(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
return 1
";

/// Invalidates the namespace: a new history on the same server.
///
/// KEYS history, sequence, and the audit's stream if there is one. ARGV new number, identity; who,
/// what and the stream's length, if there is one; channel.
const INVALIDATE_ALL: &str = "
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', LIFE)
publish(KEYS[2], 'h:' .. ARGV[1])
audit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
return 1
";

/// Asks which commands the user may not run, without running them.
///
/// KEYS heartbeat. ARGV for each command the number of its words, and its words. Returns the indices
/// of those that are refused or not known.
const PERMISSIONS: &str = "
local refused = {}
if not redis.acl_check_cmd then return refused end
local at, index = 1, 0
while at <= #ARGV do
  local size = tonumber(ARGV[at])
  local known, allowed = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, at + size))
  if not (known and allowed) then table.insert(refused, index) end
  at, index = at + size + 1, index + 1
end
return refused
";

/// All of them, known to this process by the hash of their text.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) attach: Script,
    pub(crate) read: Script,
    pub(crate) lease: Script,
    pub(crate) fill: Script,
    pub(crate) restore: Script,
    pub(crate) release: Script,
    pub(crate) renew: Script,
    pub(crate) deadlock: Script,
    pub(crate) guard: Script,
    pub(crate) unguard: Script,
    pub(crate) invalidate_key: Script,
    pub(crate) invalidate_function: Script,
    pub(crate) invalidate_all: Script,
    pub(crate) forget: Script,
    pub(crate) note: Script,
    pub(crate) permissions: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let script = |text| Script::new(&format!("{COMMON}{text}"));
        // A full server gives leases and guards all the same: they are small and short, and without them nobody knows who loads
        // or what is guarded. Fills it refuses.
        let even_if_full = |text| Script::new(&format!("#!lua flags=allow-oom\n{COMMON}{text}"));
        Self {
            attach: script(ATTACH),
            read: script(READ),
            lease: even_if_full(LEASE),
            fill: script(FILL),
            restore: even_if_full(RESTORE),
            release: script(RELEASE),
            renew: script(RENEW),
            deadlock: even_if_full(DEADLOCK),
            guard: even_if_full(GUARD),
            unguard: script(UNGUARD),
            invalidate_key: script(INVALIDATE_KEY),
            invalidate_function: script(INVALIDATE_FUNCTION),
            invalidate_all: script(INVALIDATE_ALL),
            forget: script(FORGET),
            note: script(NOTE),
            permissions: script(PERMISSIONS),
        }
    }

    /// Makes a server know them all, so that the first use of each costs one round trip as well.
    pub(crate) async fn load(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let mut pipe = redis::pipe();
        for script in [
            &self.attach,
            &self.read,
            &self.lease,
            &self.fill,
            &self.restore,
            &self.release,
            &self.renew,
            &self.deadlock,
            &self.guard,
            &self.unguard,
            &self.invalidate_key,
            &self.invalidate_function,
            &self.invalidate_all,
            &self.forget,
            &self.note,
            &self.permissions,
        ] {
            pipe.load_script(script).ignore();
        }
        pipe.exec_async(connection).await
    }
}
