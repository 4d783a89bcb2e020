//! How Redis keeps a key: one value, changed by scripts that are each one step.
//!
//! A value is its state, what the key leads to (50 bytes: [`entry`](super::entry)) and, unless it
//! is committed, who holds it: the log's id (16 bytes), the run (8), the token (8), and until when
//! in milliseconds. States: `c` committed; `p` taken; `t` taken over from another, or given back
//! when it may be in a log: what it leads to must be kept.

/// Takes the keys of pulses. ARGV: milliseconds of the window, of the lease, the holder's 24
/// bytes, what names of runs begin with, then for each pulse the number of its keys (one digit),
/// its token and what they lead to.
pub(super) const TAKE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, me, runs = ARGV[1], ARGV[3], ARGV[4]
local till = string.format('%.0f', now + tonumber(ARGV[2]))
local mine = string.sub(me, 1, 16)
local first, answers = 1, {}
for pulse = 5, #ARGV do
  local last = first + tonumber(string.sub(ARGV[pulse], 1, 1)) - 1
  local token, what = string.sub(ARGV[pulse], 2, 9), string.sub(ARGV[pulse], 10)
  local answer, known, committed = nil, nil, false
  for place = first, last do
    local value = redis.call('GET', KEYS[place])
    if value then
      local state, leads = string.sub(value, 1, 1), string.sub(value, 2, 51)
      local same = string.sub(leads, 1, 16) == string.sub(what, 1, 16)
      local own = string.sub(value, 52, 67) == mine
      if state ~= 'c' and not own and tonumber(string.sub(value, 84)) > now then
        local run = string.sub(value, 68, 75)
        if (redis.call('GET', runs .. string.sub(value, 52, 67)) or run) == run then
          answer = 'w'
          break
        end
      end
      if same then
        if known and string.sub(known, 17, 32) ~= string.sub(leads, 17, 32) then answer = 'x' end
        if state == 'c' or not known then known = leads end
        committed = committed or state == 'c'
      elseif not (own and state == 'p') then
        answer = 'x'
      end
    end
  end
  if not answer and committed then answer = 'r' .. known end
  if not answer then
    local state = known and 't' or 'p'
    for place = first, last do
      redis.call('SET', KEYS[place], state .. (known or what) .. me .. token .. till,
        'PX', window)
    end
    answer = 'n' .. (known or '')
  end
  answers[#answers + 1] = answer
  first = last + 1
end
return answers
";

/// Commits keys. ARGV: for each what it leads to and the milliseconds that it is known for.
pub(super) const COMMIT: &str = "\
for place, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if not value or string.sub(value, 1, 1) ~= 'c' then
    redis.call('SET', key, 'c' .. string.sub(ARGV[place], 1, 50),
      'PX', string.sub(ARGV[place], 51))
  end
end
return 0
";

/// Gives keys back. ARGV: for each the token, and `1` if it is in no log.
pub(super) const GIVE_BACK: &str = "\
for place, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  local said = ARGV[place]
  if value and string.sub(value, 1, 1) ~= 'c'
    and string.sub(value, 76, 83) == string.sub(said, 1, 8) then
    if string.sub(value, 1, 1) == 'p' and string.sub(said, 9) == '1' then
      redis.call('DEL', key)
    else
      redis.call('SET', key, 't' .. string.sub(value, 2, 83) .. '0', 'KEEPTTL')
    end
  end
end
return 0
";
