INSERT INTO sessions
  (owner, id, created_at, last_turn_at, current_turn_id, turns, messages, input_tokens, output_tokens, characters_per_token)
VALUES
  ('anonymous', 's1', '2026-01-02 03:04:05.000000', '2026-01-02 03:05:05.000000', NULL, 1, 4, 100, 20, 3.5),
  ('anonymous', 's2', '2026-01-02 03:04:05.000000', '2026-01-02 03:05:05.000000', 't2', 1, 1, 0, 0, 4.0);

INSERT INTO turns
  (id, owner, session_id, number, worker, started_at, finished_at, outcome, model, rounds, input_tokens, output_tokens)
VALUES
  ('t1', 'anonymous', 's1', 1, 'w0', '2026-01-02 03:04:05.000000', '2026-01-02 03:05:05.000000', 'completed', 'llama', 2, 100, 20),
  ('t2', 'anonymous', 's2', 1, 'w0', '2026-01-02 03:05:05.000000', NULL, NULL, NULL, 0, 0, 0);

INSERT INTO messages
  (owner, session_id, position, turn_id, role, content, tool_calls, tool_call_id, tool_name, created_at)
VALUES
  ('anonymous', 's1', 1, 't1', 'user', 'Weather in Zürich?', NULL, NULL, NULL, '2026-01-02 03:04:05.000000'),
  ('anonymous', 's1', 2, 't1', 'assistant', '', '[{"id": "c1", "name": "get_weather", "arguments": "{}"}]', NULL, NULL, '2026-01-02 03:04:06.000000'),
  ('anonymous', 's1', 3, 't1', 'tool', '34°C', NULL, 'c1', 'get_weather', '2026-01-02 03:04:07.000000'),
  ('anonymous', 's1', 4, 't1', 'assistant', 'It is 34°C.', NULL, NULL, NULL, '2026-01-02 03:04:08.000000'),
  ('anonymous', 's2', 1, 't2', 'user', 'Anybody there?', NULL, NULL, NULL, '2026-01-02 03:05:05.000000');

INSERT INTO appointments
  (confirmation_id, user_id, dealership_id, date, time, car_model, booked_at)
VALUES
  ('SC-22334455', '123', 'manhattan', '2030-05-06', '10:00:00.000000', 'Apex GT', '2026-01-02 03:04:05.000000');

INSERT INTO dealerships (id, place, name, address, phone, time_zone, hours)
VALUES ('manhattan', 0, 'Manhattan', '1 First Street', '+1 212-555-0100', 'America/New_York', '{}');

INSERT INTO profiles (user_id, name) VALUES ('123', 'Ada');
