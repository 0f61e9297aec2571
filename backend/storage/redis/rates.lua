-- Takes one worker's report on one model's rates, lets turns pass, and returns the news.
--
-- KEYS: the state, the queue, the workers, and the places of this worker that may pass.
-- ARGV: the worker, the report, the prefix of the fourth key, and the seconds of silence after
-- which a worker counts as gone.
--
-- Times are those of Redis. A place in the queue is `worker place`, sorted by arrival.
local state, queue, workers, mine = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local worker, report, passing, gone = ARGV[1], cjson.decode(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function get(name)
  return tonumber(redis.call('HGET', state, name)) or 0
end
local function set(name, value)
  redis.call('HSET', state, name, string.format('%.6f', value))
end

-- Figures: the newest of each kind counts.
for _, figure in ipairs(report.figures) do
  local known = redis.call('HGET', state, figure.kind)
  local at = now - figure.age_seconds
  if not known or tonumber(cjson.decode(known).at) < at then
    figure.at = string.format('%.6f', at)
    redis.call('HSET', state, figure.kind, cjson.encode(figure))
  end
end
local refused_until = math.max(get('refused_until'), now + report.refused_seconds)
set('refused_until', refused_until)

-- Workers: the turns of one that is gone lose their places.
redis.call('HSET', workers, worker, string.format('%d %.6f', report.waiting, now))
local is_here, others = {}, 0
local all = redis.call('HGETALL', workers)
for i = 1, #all, 2 do
  local waiting, at = string.match(all[i + 1], '^(%d+) (%S+)$')
  if tonumber(at) < now - gone then
    redis.call('HDEL', workers, all[i])
  else
    is_here[all[i]] = true
    if all[i] ~= worker then others = others + waiting end
  end
end

-- The queue: a turn that has passed since the worker looked must not join again.
local passed, has_passed = {}, {}
for i = redis.call('LLEN', mine) - 1, 0, -1 do
  local place = redis.call('LINDEX', mine, i)
  passed[#passed + 1], has_passed[place] = place, true
end
for _, place in ipairs(report.joined) do
  if not has_passed[place.id] then
    redis.call('ZADD', queue, 'NX', string.format('%.6f', now - place.age_seconds), worker .. ' ' .. place.id)
  end
end
for _, place in ipairs(report.left) do redis.call('ZREM', queue, worker .. ' ' .. place) end

-- Releases: they keep the gap on average, although workers look only now and then.
local released_at, unanswered = get('released_at'), math.max(0, get('unanswered') - report.answered)
if released_at < now - 10 then unanswered = 0 end
while not report.is_blocked and now >= refused_until do
  local due = math.max(released_at + report.spacing_seconds, now - 0.1)
  if due > now then break end
  local first = redis.call('ZRANGE', queue, 0, 0)[1]
  if not first then break end
  redis.call('ZREM', queue, first)
  local holder, place = string.match(first, '^(%S+) (%S+)$')
  if is_here[holder] then
    if holder == worker then
      passed[#passed + 1] = place
    else
      redis.call('LPUSH', passing .. holder, place)
      redis.call('EXPIRE', passing .. holder, 60)
    end
    released_at, unanswered = due, unanswered + 1
  end
end
set('released_at', released_at)
set('unanswered', unanswered)
redis.call('UNLINK', mine)
for _, key in ipairs({state, queue, workers}) do redis.call('EXPIRE', key, 3600) end

local figures = {}
for _, kind in ipairs({'requests', 'tokens'}) do
  local known = redis.call('HGET', state, kind)
  if known then
    local figure = cjson.decode(known)
    figure.age_seconds, figure.at = now - figure.at, nil
    figures[#figures + 1] = figure
  end
end
return cjson.encode({
  figures = figures,
  refused_seconds = math.max(0, refused_until - now),
  passed = passed,
  others = others,
  is_queued = redis.call('ZCARD', queue) > 0,
  unanswered = unanswered,
})
