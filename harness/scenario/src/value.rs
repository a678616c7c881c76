//! Values with units: durations, rates, sizes, bandwidths, shares, distributions. Each is parsed exactly, in whole
//! numbers; what cannot be exact is refused with the reason and a remedy.

use std::collections::BTreeMap;
use std::fmt;

use halfopen_core::{Ratio, SimDuration};
use halfopen_fabric::config::Delay;

use crate::registry::Param;

/// So many events in a time: `20/s` is 20 in one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    events: u64,
    per: SimDuration,
}

impl Rate {
    /// `events` in each span of `per`; `None` if either is nothing.
    pub fn new(events: u64, per: SimDuration) -> Option<Rate> {
        (events > 0 && !per.is_zero()).then_some(Rate { events, per })
    }

    /// How long after the start event number `n` (from 0) comes if events are spread evenly; rounded down to a
    /// nanosecond, with no error that adds up.
    pub fn offset(self, n: u64) -> SimDuration {
        let nanos = u128::from(n) * u128::from(self.per.as_nanos()) / u128::from(self.events);
        SimDuration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many of the evenly spread events begin within `span` (its end excluded).
    pub fn count_within(self, span: SimDuration) -> u64 {
        let product = u128::from(span.as_nanos()) * u128::from(self.events);
        u64::try_from(product.div_ceil(u128::from(self.per.as_nanos()))).unwrap_or(u64::MAX)
    }

    /// Events a second, for reports and for code that is not part of the simulation.
    pub fn per_second(self) -> f64 {
        self.events as f64 / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_nanos() {
            1_000_000_000 => write!(f, "{}/s", self.events),
            60_000_000_000 => write!(f, "{}/min", self.events),
            3_600_000_000_000 => write!(f, "{}/h", self.events),
            _ => write!(f, "{} in {}", self.events, self.per),
        }
    }
}

/// How long something takes, each time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Distribution {
    /// Always the same.
    Fixed(SimDuration),
    /// Anything between the two, alike.
    Uniform {
        /// At least.
        low: SimDuration,
        /// At most.
        high: SimDuration,
    },
    /// Independent events: many short, few long.
    Exponential {
        /// On average.
        mean: SimDuration,
    },
    /// A bell, cut off at zero.
    Normal {
        /// On average.
        mean: SimDuration,
        /// Standard deviation.
        deviation: SimDuration,
    },
    /// A long tail, as of most service times.
    LogNormal {
        /// Half take less.
        median: SimDuration,
        /// One in a hundred takes more; above the median.
        p99: SimDuration,
    },
    /// A very long tail (type I).
    Pareto {
        /// At least.
        min: SimDuration,
        /// One in a hundred takes more; above `min`.
        p99: SimDuration,
    },
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

impl Distribution {
    /// The same as a latency of the network, which goes by mean and standard deviation where this goes by percentiles.
    /// Floating point is used at most here, before the run begins, by `libm`: the same bits on every machine.
    ///
    /// # Errors
    /// If the network has no such latency: an exponential one, or a tail too long to have a deviation.
    pub fn to_delay(self) -> Result<Delay, Mistake> {
        let span = |seconds: f64| SimDuration::from_nanos(libm::round(seconds * 1e9) as u64);
        match self {
            Distribution::Fixed(delay) => Ok(Delay::Fixed(delay)),
            Distribution::Uniform { low, high } => Ok(Delay::Uniform { min: low, max: high }),
            Distribution::Normal { mean, deviation } => Ok(Delay::Normal { mean, deviation }),
            Distribution::LogNormal { median, p99 } => {
                let sigma = libm::log(p99.as_secs_f64() / median.as_secs_f64()) / NORMAL_P99;
                let mean = median.as_secs_f64() * libm::exp(sigma * sigma / 2.0);
                let deviation = mean * libm::sqrt(libm::expm1(sigma * sigma));
                Ok(Delay::LogNormal { mean: span(mean), deviation: span(deviation) })
            }
            Distribution::Pareto { min, p99 } => {
                // P(X > p99) = (min / p99)^alpha = 1 %. There is a deviation where alpha > 2.
                if p99 >= min * 10 {
                    return mistake("the tail of this latency is too long", "let `p99` be less than ten times `min`");
                }
                let alpha = libm::log(100.0) / libm::log(p99.as_secs_f64() / min.as_secs_f64());
                let mean = min.as_secs_f64() * alpha / (alpha - 1.0);
                let deviation = mean / libm::sqrt(alpha * (alpha - 2.0));
                Ok(Delay::Pareto { mean: span(mean), deviation: span(deviation) })
            }
            Distribution::Exponential { .. } => mistake(
                "no line has exponential latency",
                "write `{ lognormal: { median: 5ms, p99: 50ms } }` for a long tail",
            ),
        }
    }
}

/// The value of one setting of a registration.
#[derive(Clone, PartialEq, Debug)]
pub enum ParamValue {
    /// `none`, where the setting allows it.
    None,
    /// A span of time.
    Duration(SimDuration),
    /// A whole number.
    Count(u64),
    /// A part of a whole.
    Share(Ratio),
    /// Yes or no.
    Bool(bool),
    /// Events in a time.
    Rate(Rate),
    /// Bytes.
    Size(u64),
    /// Text, a URL, or one word of a choice.
    Text(String),
    /// How long something takes.
    Distribution(Distribution),
}

/// The settings of one host's registration: a value for each, defaults included.
///
/// The getters panic if the registration has no such setting or it is of another kind: the registration's own code
/// asks, so that is a mistake in the program.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Params(BTreeMap<String, ParamValue>);

impl Params {
    /// The value of this setting, if there is such a setting.
    pub fn get(&self, name: &str) -> Option<&ParamValue> {
        self.0.get(name)
    }

    /// All settings in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ParamValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Sets one.
    pub fn set(&mut self, name: impl Into<String>, value: ParamValue) {
        self.0.insert(name.into(), value);
    }

    fn expect(&self, name: &str) -> &ParamValue {
        self.0.get(name).unwrap_or_else(|| panic!("the registration has no setting `{name}`"))
    }

    /// A span of time.
    pub fn duration(&self, name: &str) -> SimDuration {
        self.optional_duration(name).unwrap_or_else(|| panic!("`{name}` is `none`"))
    }

    /// A span of time, or `None` for `none`.
    pub fn optional_duration(&self, name: &str) -> Option<SimDuration> {
        match self.expect(name) {
            ParamValue::None => None,
            ParamValue::Duration(value) => Some(*value),
            other => panic!("`{name}` is no duration: {other:?}"),
        }
    }

    /// A whole number.
    pub fn count(&self, name: &str) -> u64 {
        self.optional_count(name).unwrap_or_else(|| panic!("`{name}` is `none`"))
    }

    /// A whole number, or `None` for `none`.
    pub fn optional_count(&self, name: &str) -> Option<u64> {
        match self.expect(name) {
            ParamValue::None => None,
            ParamValue::Count(value) => Some(*value),
            other => panic!("`{name}` is no count: {other:?}"),
        }
    }

    /// A part of a whole.
    pub fn share(&self, name: &str) -> Ratio {
        match self.expect(name) {
            ParamValue::Share(value) => *value,
            other => panic!("`{name}` is no share: {other:?}"),
        }
    }

    /// Yes or no.
    pub fn flag(&self, name: &str) -> bool {
        match self.expect(name) {
            ParamValue::Bool(value) => *value,
            other => panic!("`{name}` is no flag: {other:?}"),
        }
    }

    /// Events in a time.
    pub fn rate(&self, name: &str) -> Rate {
        match self.expect(name) {
            ParamValue::Rate(value) => *value,
            other => panic!("`{name}` is no rate: {other:?}"),
        }
    }

    /// Bytes.
    pub fn size(&self, name: &str) -> u64 {
        match self.expect(name) {
            ParamValue::Size(value) => *value,
            other => panic!("`{name}` is no size: {other:?}"),
        }
    }

    /// Text, a URL, or one word of a choice.
    pub fn text(&self, name: &str) -> &str {
        match self.expect(name) {
            ParamValue::Text(value) => value,
            other => panic!("`{name}` is no text: {other:?}"),
        }
    }

    /// How long something takes.
    pub fn distribution(&self, name: &str) -> Distribution {
        match self.expect(name) {
            ParamValue::Distribution(value) => *value,
            other => panic!("`{name}` is no distribution: {other:?}"),
        }
    }
}

/// A span as a person would write it: `2h`, `11m`, `90s`, `1.5ms`.
pub(crate) fn spelled(span: SimDuration) -> String {
    let seconds = span.as_nanos() / 1_000_000_000;
    let whole = |unit: u64| span.as_nanos().is_multiple_of(unit * 1_000_000_000) && seconds >= 2 * unit;
    match seconds {
        _ if whole(3600) => format!("{}h", seconds / 3600),
        _ if whole(60) => format!("{}m", seconds / 60),
        _ => span.to_string(),
    }
}

/// What is wrong with a value, and how to mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// A way to mend it.
    pub help: String,
}

fn mistake<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { message: message.into(), help: help.into() })
}

/// A kind of value that is a number and a unit.
struct Quantity {
    /// With its article: "a duration".
    name: &'static str,
    units: &'static [(&'static str, u64)],
    example: &'static str,
    /// What nothing can be finer than.
    grain: &'static str,
}

const DURATION: Quantity = Quantity {
    name: "a duration",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ],
    example: "2s",
    grain: "a nanosecond",
};

const SIZE: Quantity = Quantity {
    name: "a size",
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ],
    example: "64KiB",
    grain: "a byte",
};

const BANDWIDTH: Quantity = Quantity {
    name: "a bandwidth",
    units: &[
        ("bit/s", 1),
        ("kbit/s", 1_000),
        ("Mbit/s", 1_000_000),
        ("Gbit/s", 1_000_000_000),
        ("B/s", 8),
        ("kB/s", 8_000),
        ("MB/s", 8_000_000),
        ("GB/s", 8_000_000_000),
        ("KiB/s", 8 << 10),
        ("MiB/s", 8 << 20),
    ],
    example: "100Mbit/s",
    grain: "a bit",
};

/// A number that is not negative: `mantissa / 10^scale`.
#[derive(Clone, Copy)]
struct Decimal {
    mantissa: u128,
    scale: u32,
}

/// Digits that a number may have: enough for any `u64` with nine decimals, and no product of it can overflow.
const DIGITS_MAX: usize = 24;

impl Decimal {
    /// From digits with at most one point and with `_` between them; `None` if it is no such thing.
    fn parse(text: &str) -> Option<Decimal> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let sound = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
        let fraction = fraction.map(|fraction| fraction.replace('_', ""));
        let digits = [&whole.replace('_', ""), fraction.as_deref().unwrap_or_default()].concat();
        if !sound(whole) || !fraction.as_deref().is_none_or(sound) || digits.len() > DIGITS_MAX {
            return None;
        }
        let scale = fraction.map_or(0, |fraction| fraction.len() as u32);
        Some(Decimal { mantissa: digits.parse().ok()?, scale })
    }

    /// So many of `unit`, if that is a whole number.
    fn exactly(self, unit: u64) -> Option<u128> {
        let product = self.mantissa.checked_mul(u128::from(unit))?;
        let divisor = 10u128.pow(self.scale);
        product.is_multiple_of(divisor).then(|| product / divisor)
    }
}

/// Cuts the number off the front of a text: its characters, and what follows.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

impl Quantity {
    fn unit_names(&self) -> String {
        self.units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn parse(&self, text: &str) -> Result<u64, Mistake> {
        let mut rest = text.trim();
        if rest.starts_with('-') {
            return mistake(format!("{} cannot be negative: `{text}`", self.name), "leave the sign out");
        }
        if rest == "0" {
            return Ok(0);
        }
        let mut total: u128 = 0;
        loop {
            let (number, tail) = split_number(rest);
            let tail = tail.trim_start();
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            total = total.saturating_add(self.part(text, number, unit.trim_end())?);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        u64::try_from(total)
            .or_else(|_| mistake(format!("`{text}` is too large"), format!("take {} that fits", self.name)))
    }

    /// One number with its unit.
    fn part(&self, text: &str, number: &str, unit: &str) -> Result<u128, Mistake> {
        let Some(decimal) = Decimal::parse(number) else {
            let help = format!("write a number and a unit, as in `{}`; units: {}", self.example, self.unit_names());
            return mistake(format!("`{text}` is not {}", self.name), help);
        };
        if unit.is_empty() {
            let help = format!("say of what, as in `{}`; units: {}", self.example, self.unit_names());
            return mistake(format!("`{text}` has no unit"), help);
        }
        let Some((_, per)) = self.units.iter().find(|(name, _)| *name == unit) else {
            let likely = crate::diagnostic::closest(unit, self.units.iter().map(|(name, _)| *name));
            let help = match likely {
                Some(name) => format!("did you mean `{number}{name}`? units: {}", self.unit_names()),
                None => format!("units: {}", self.unit_names()),
            };
            return mistake(format!("unknown unit `{unit}` in `{text}`"), help);
        };
        decimal.exactly(*per).ok_or_else(|| Mistake {
            message: format!("`{text}` is finer than {}", self.grain),
            help: "write fewer decimals".to_owned(),
        })
    }
}

/// A span of time: `2s`, `1.5ms`, `1m30s`. Units: ns, us, ms, s, m or min, h, d.
///
/// # Errors
/// If it is anything else, is negative, or does not fit in 584 years.
pub fn parse_duration(text: &str) -> Result<SimDuration, Mistake> {
    DURATION.parse(text).map(SimDuration::from_nanos)
}

/// A span of time that may be negative, in nanoseconds: `-3s`.
///
/// # Errors
/// As for [`parse_duration`], or if it does not fit in 292 years either way.
pub fn parse_signed_duration(text: &str) -> Result<i64, Mistake> {
    let (sign, magnitude) = match text.trim().strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.trim().strip_prefix('+').unwrap_or(text)),
    };
    let nanos = i64::try_from(DURATION.parse(magnitude)?);
    nanos.map(|nanos| sign * nanos).or_else(|_| mistake(format!("`{text}` is too large"), "292 years is the most"))
}

/// Bytes: `64KiB`, `1500B`. Units: B, kB, MB, GB (thousands), KiB, MiB, GiB.
///
/// # Errors
/// If it is anything else.
pub fn parse_size(text: &str) -> Result<u64, Mistake> {
    SIZE.parse(text)
}

/// Bits a second, more than none: `100Mbit/s`, `10MiB/s`.
///
/// # Errors
/// If it is anything else.
pub fn parse_bandwidth(text: &str) -> Result<u64, Mistake> {
    match BANDWIDTH.parse(text)? {
        0 => mistake("a bandwidth of nothing", "to let nothing through, use the fault `partition`"),
        bits => Ok(bits),
    }
}

/// Events in a time: `20/s`, `3/min`, `0.5/s`, `1/10s`.
///
/// # Errors
/// If it is anything else, or no events at all.
pub fn parse_rate(text: &str) -> Result<Rate, Mistake> {
    const HELP: &str = "write a number, a slash and a time, as in `20/s`, `3/min` or `1/10s`";
    let Some((number, per)) = text.split_once('/') else {
        return mistake(format!("`{text}` is not a rate"), HELP);
    };
    let (number, per) = (number.trim(), per.trim());
    if number.starts_with('-') {
        return mistake(format!("a rate cannot be negative: `{text}`"), "leave the sign out");
    }
    let Some(decimal) = Decimal::parse(number) else {
        return mistake(format!("`{text}` is not a rate"), HELP);
    };
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
    let per = DURATION.parse(&per).map_err(|mistake| Mistake { help: HELP.to_owned(), ..mistake })?;
    let events = u64::try_from(decimal.mantissa).ok();
    let per = 10u64.checked_pow(decimal.scale).and_then(|scale| per.checked_mul(scale));
    match events.zip(per) {
        None => mistake(format!("`{text}` is too large"), HELP),
        Some((events, per)) => {
            let common = gcd(events, per).max(1);
            // Whole seconds, minutes and hours stay as they are written.
            let (events, per) = if decimal.scale == 0 { (events, per) } else { (events / common, per / common) };
            Rate::new(events, SimDuration::from_nanos(per)).ok_or_else(|| Mistake {
                message: format!("`{text}` is no rate at all"),
                help: "for a time without load, use `{ idle: 10m }`".to_owned(),
            })
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A part of a whole: `10%`, `0.1`; from 0 to 100%, to a billionth.
///
/// # Errors
/// If it is anything else.
pub fn parse_share(text: &str) -> Result<Ratio, Mistake> {
    const WHOLE: u64 = Ratio::ONE.as_billionths() as u64;
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return mistake(format!("a share cannot be negative: `{text}`"), "a share is from 0% to 100%");
    }
    let (number, unit) = match trimmed.strip_suffix('%') {
        Some(number) => (number.trim_end(), WHOLE / 100),
        None => (trimmed, WHOLE),
    };
    let Some(decimal) = Decimal::parse(number) else {
        return mistake(format!("`{text}` is not a share"), "write `10%`, or `0.1`");
    };
    let Some(parts) = decimal.exactly(unit) else {
        return mistake(format!("`{text}` is finer than a billionth"), "write fewer decimals");
    };
    match u32::try_from(parts) {
        Ok(parts) if u64::from(parts) <= WHOLE => Ok(Ratio::from_billionths(parts)),
        _ if unit == WHOLE => mistake(format!("`{text}` is more than the whole"), format!("did you mean `{number}%`?")),
        _ => mistake(format!("`{text}` is more than the whole"), "a share is at most 100%"),
    }
}

/// A whole number: `8`, `1_000`.
///
/// # Errors
/// If it is anything else, negative, or above `u64::MAX`.
pub fn parse_count(text: &str) -> Result<u64, Mistake> {
    let trimmed = text.trim();
    if trimmed.starts_with('-') && split_number(&trimmed[1..]).1.is_empty() {
        return mistake(format!("a count cannot be negative: `{text}`"), "leave the sign out");
    }
    match Decimal::parse(trimmed) {
        None => mistake(format!("`{text}` is not a whole number"), "write digits only, as in `8`"),
        Some(decimal) => match decimal.exactly(1).map(u64::try_from) {
            None => mistake(format!("`{text}` is not a whole number"), "leave the fraction out"),
            Some(Err(_)) => mistake(format!("`{text}` is too large"), "the largest number is 18446744073709551615"),
            Some(Ok(count)) => Ok(count),
        },
    }
}

/// `true` or `false`.
///
/// # Errors
/// If it is anything else.
pub fn parse_bool(text: &str) -> Result<bool, Mistake> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        "yes" | "on" | "Yes" | "On" | "True" | "TRUE" => {
            mistake(format!("`{text}` is neither `true` nor `false`"), "write `true`")
        }
        "no" | "off" | "No" | "Off" | "False" | "FALSE" => {
            mistake(format!("`{text}` is neither `true` nor `false`"), "write `false`")
        }
        _ => mistake(format!("`{text}` is neither `true` nor `false`"), "write `true` or `false`"),
    }
}

/// A distribution without parameters of its own: `5ms` or `2ms..8ms`.
///
/// # Errors
/// If it is neither.
pub fn parse_distribution(text: &str) -> Result<Distribution, Mistake> {
    match text.split_once("..") {
        None => parse_duration(text).map(Distribution::Fixed),
        Some((low, high)) => {
            let (low, high) = (parse_duration(low.trim())?, parse_duration(high.trim())?);
            if low > high {
                return mistake(format!("`{text}` runs backwards"), format!("write `{high}..{low}`"));
            }
            Ok(Distribution::Uniform { low, high })
        }
    }
}

/// A point of calendar time in UTC as nanoseconds since 1970: `2026-01-01T00:00:00Z`, or the day alone.
///
/// # Errors
/// If it is anything else, or outside the years 1970 to 2500.
pub fn parse_timestamp(text: &str) -> Result<u64, Mistake> {
    const HELP: &str = "write it in UTC, as in `2026-01-01T00:00:00Z`";
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let numbers = |text: &str, separator| -> Option<Vec<u64>> {
        let whole = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?;
        text.split(separator).map(whole).collect()
    };
    let date = numbers(date, '-');
    let time = time.strip_suffix('Z').and_then(|time| numbers(time, ':'));
    let (Some(&[year, month, day]), Some(&[hour, minute, second])) = (date.as_deref(), time.as_deref()) else {
        return mistake(format!("`{text}` is not a date and time"), HELP);
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let in_calendar = (1970..=2500).contains(&year)
        && (1..=12).contains(&month)
        && (1..=lengths[month as usize - 1]).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_calendar {
        return mistake(format!("there is no `{text}` in the calendar from 1970 to 2500"), HELP);
    }
    let leaps_before = |year: u64| year / 4 - year / 100 + year / 400;
    let days_before_year = (year - 1970) * 365 + leaps_before(year - 1) - leaps_before(1969);
    let days = days_before_year + lengths[..month as usize - 1].iter().sum::<u64>() + day - 1;
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000)
}

/// The value that a setting has where the scenario gives none.
///
/// # Errors
/// Says why its default does not fit its kind.
pub fn default_of(param: &Param) -> Result<ParamValue, String> {
    crate::read::default_of(param)
}
