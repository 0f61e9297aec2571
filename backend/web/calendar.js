/** A booking as a calendar file (RFC 5545). */

/** The length of a test drive. */
const MINUTES = 60;

/**
 * @typedef {Record<"confirmation_id" | "dealership" | "car_model" | "date" | "time" | "time_zone", string>} Booking
 *
 * @param {Booking} booking
 * @param {Date} [now]
 */
export function calendarFile(booking, now = new Date()) {
  const begins = instant(booking.date, booking.time, booking.time_zone);
  const ends = new Date(begins.getTime() + MINUTES * 60_000);
  const lines = [
    "BEGIN:VCALENDAR",
    "VERSION:2.0",
    "PRODID:-//SuperCar//Lex//EN",
    "BEGIN:VEVENT",
    `UID:${text(booking.confirmation_id)}@lex`,
    `DTSTAMP:${utc(now)}`,
    `DTSTART:${utc(begins)}`,
    `DTEND:${utc(ends)}`,
    `SUMMARY:${text(`Test drive: ${booking.car_model}`)}`,
    `LOCATION:${text(booking.dealership)}`,
    `DESCRIPTION:${text(`Confirmation ${booking.confirmation_id}`)}`,
    "END:VEVENT",
    "END:VCALENDAR",
  ];
  return lines.flatMap(folded).join("\r\n") + "\r\n";
}

/**
 * The moment at which clocks in a time zone show this date and time.
 * @param {string} date
 * @param {string} time
 * @param {string} zone
 */
export function instant(date, time, zone) {
  const shown = Date.parse(`${date}T${time}:00Z`);
  // Corrected once more, since the first guess may be on the other side of a clock change.
  const guess = shown - ahead(shown, zone);
  return new Date(shown - ahead(guess, zone));
}

/**
 * How far clocks in a zone are ahead of UTC, in milliseconds.
 * @param {number} moment
 * @param {string} zone
 */
function ahead(moment, zone) {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
  const parts = format.formatToParts(moment).map(({ type, value }) => [type, value]);
  const { year, month, day, hour, minute, second } = Object.fromEntries(parts);
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) - moment;
}

/** @param {Date} moment */
const utc = (moment) => moment.toISOString().replace(/[-:]|\.\d+/g, "");

/** @param {string} value */
const text = (value) => value.replace(/[\\;,]/g, "\\$&").replace(/\r\n|\r|\n/g, "\\n");

/**
 * Folds a line into lines of at most 75 bytes: 24 characters of up to three bytes, and a space. (24
 * characters of four bytes would be longer.)
 * @param {string} line
 */
function folded(line) {
  const pieces = line.match(/.{1,24}/gu) ?? [];
  return pieces.map((piece, n) => (n ? ` ${piece}` : piece));
}
