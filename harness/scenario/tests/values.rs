//! Values with units: what is taken, and what is not.

use halfopen_core::{Ratio, SimDuration};
use halfopen_fabric::config::Delay;
use halfopen_scenario::value::{
    Distribution, Mistake, Rate, parse_bandwidth, parse_bool, parse_count, parse_distribution, parse_duration,
    parse_rate, parse_share, parse_signed_duration, parse_size, parse_timestamp,
};

/// Each text becomes its value.
fn good<T: PartialEq + std::fmt::Debug>(parse: fn(&str) -> Result<T, Mistake>, table: &[(&str, T)]) {
    for (text, value) in table {
        assert_eq!(parse(text).as_ref(), Ok(value), "{text}");
    }
}

/// Each text is refused with this message.
fn bad<T: PartialEq + std::fmt::Debug>(parse: fn(&str) -> Result<T, Mistake>, table: &[(&str, &str)]) {
    for (text, message) in table {
        assert_eq!(parse(text).map_err(|mistake| mistake.message), Err((*message).to_owned()), "{text}");
    }
}

#[test]
fn durations() {
    let nanos = SimDuration::from_nanos;
    good(
        parse_duration,
        &[
            ("0", nanos(0)),
            ("0s", nanos(0)),
            ("7ns", nanos(7)),
            ("2us", nanos(2_000)),
            ("1.5ms", nanos(1_500_000)),
            ("2s", nanos(2_000_000_000)),
            ("2 s", nanos(2_000_000_000)),
            ("0.000000001s", nanos(1)),
            ("1_000s", nanos(1_000_000_000_000)),
            ("3m", nanos(180_000_000_000)),
            ("3min", nanos(180_000_000_000)),
            ("1h30m", nanos(5_400_000_000_000)),
            ("1d", nanos(86_400_000_000_000)),
            ("18446744073709551615ns", SimDuration::MAX),
        ],
    );
    bad(
        parse_duration,
        &[
            ("", "`` is not a duration"),
            ("soon", "`soon` is not a duration"),
            ("s", "`s` is not a duration"),
            (".5s", "`.5s` is not a duration"),
            ("1.s", "`1.s` is not a duration"),
            ("1.2.3s", "`1.2.3s` is not a duration"),
            ("5", "`5` has no unit"),
            ("1m30", "`1m30` has no unit"),
            ("5S", "unknown unit `S` in `5S`"),
            ("5 weeks", "unknown unit `weeks` in `5 weeks`"),
            ("-5s", "a duration cannot be negative: `-5s`"),
            ("0.5ns", "`0.5ns` is finer than a nanosecond"),
            ("18446744073709551616ns", "`18446744073709551616ns` is too large"),
            ("9999999999999999999999999s", "`9999999999999999999999999s` is not a duration"),
        ],
    );
    good(parse_signed_duration, &[("-3s", -3_000_000_000), ("+3s", 3_000_000_000), ("3s", 3_000_000_000)]);
    bad(
        parse_signed_duration,
        &[("--3s", "a duration cannot be negative: `-3s`"), ("300000d", "`300000d` is too large")],
    );
}

#[test]
fn a_slip_of_a_unit_is_mended() {
    for (text, help) in [
        ("5sec", "did you mean `5s`?"),
        ("5S", "did you mean `5s`?"),
        ("5hours", "did you mean `5h`?"),
        ("5mins", "did you mean `5min`?"),
        ("5msec", "did you mean `5ms`?"),
    ] {
        let mistake = parse_duration(text).unwrap_err();
        assert!(mistake.help.starts_with(help), "{text}: {}", mistake.help);
    }
}

#[test]
fn sizes_and_bandwidths() {
    good(parse_size, &[("0B", 0), ("1500B", 1500), ("1kB", 1000), ("1.5KiB", 1536), ("2GiB", 2 << 30)]);
    bad(
        parse_size,
        &[("64", "`64` has no unit"), ("64kb", "unknown unit `kb` in `64kb`"), ("0.1B", "`0.1B` is finer than a byte")],
    );
    good(parse_bandwidth, &[("1bit/s", 1), ("100Mbit/s", 100_000_000), ("1.5Gbit/s", 1_500_000_000), ("1KiB/s", 8192)]);
    bad(parse_bandwidth, &[("0bit/s", "a bandwidth of nothing"), ("100Mbps", "unknown unit `Mbps` in `100Mbps`")]);
}

#[test]
fn rates() {
    for (text, offset_of_ten, per_second) in [
        ("20/s", SimDuration::from_millis(500), 20.0),
        ("3/min", SimDuration::from_secs(200), 0.05),
        ("0.5/s", SimDuration::from_secs(20), 0.5),
        ("1/10s", SimDuration::from_secs(100), 0.1),
        ("7 / s", SimDuration::from_nanos(1_428_571_428), 7.0),
    ] {
        let rate = parse_rate(text).unwrap();
        assert_eq!((rate.offset(10), rate.per_second()), (offset_of_ten, per_second), "{text}");
    }
    bad(
        parse_rate,
        &[
            ("20", "`20` is not a rate"),
            ("x/s", "`x/s` is not a rate"),
            ("20/0s", "`20/0s` is no rate at all"),
            ("0/s", "`0/s` is no rate at all"),
            ("-1/s", "a rate cannot be negative: `-1/s`"),
            ("1/fortnight", "unknown unit `fortnight` in `1fortnight`"),
            ("99999999999999999999/s", "`99999999999999999999/s` is too large"),
        ],
    );
}

#[test]
fn evenly_spread_events_add_up() {
    let rate = Rate::new(3, SimDuration::from_secs(1)).unwrap();
    assert_eq!(rate.offset(3_000_000), SimDuration::from_secs(1_000_000));
    assert_eq!(rate.count_within(SimDuration::from_secs(10)), 30);
    assert_eq!(rate.count_within(SimDuration::from_nanos(1)), 1);
    assert_eq!(rate.count_within(SimDuration::ZERO), 0);
    assert!(Rate::new(0, SimDuration::from_secs(1)).is_none() && Rate::new(1, SimDuration::ZERO).is_none());
}

#[test]
fn shares() {
    let parts = Ratio::from_billionths;
    good(
        parse_share,
        &[
            ("0", parts(0)),
            ("100%", Ratio::ONE),
            ("1", Ratio::ONE),
            ("0.1%", parts(1_000_000)),
            ("0.25", parts(250_000_000)),
        ],
    );
    bad(
        parse_share,
        &[
            ("101%", "`101%` is more than the whole"),
            ("5", "`5` is more than the whole"),
            ("-1%", "a share cannot be negative: `-1%`"),
            ("some", "`some` is not a share"),
            ("0.00000001%", "`0.00000001%` is finer than a billionth"),
        ],
    );
}

#[test]
fn counts_and_flags() {
    good(parse_count, &[("0", 0), ("8", 8), ("1_000", 1000), ("8.0", 8), ("18446744073709551615", u64::MAX)]);
    bad(
        parse_count,
        &[
            ("8.5", "`8.5` is not a whole number"),
            ("-8", "a count cannot be negative: `-8`"),
            ("-", "a count cannot be negative: `-`"),
            ("0x10", "`0x10` is not a whole number"),
            ("18446744073709551616", "`18446744073709551616` is too large"),
        ],
    );
    good(parse_bool, &[("true", true), ("false", false)]);
    bad(parse_bool, &[("yes", "`yes` is neither `true` nor `false`"), ("1", "`1` is neither `true` nor `false`")]);
}

#[test]
fn calendar() {
    good(
        parse_timestamp,
        &[
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29", 951_782_400_000_000_000),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000_000_000),
            ("2026-03-31T03:01:05Z", 1_774_926_065_000_000_000),
            ("2100-03-01", 4_107_542_400_000_000_000),
        ],
    );
    for text in ["2026", "2026-13-01", "2100-02-29", "1969-12-31", "2026-01-01T24:00:00Z", "2026-01-01 00:00:00"] {
        assert!(parse_timestamp(text).is_err(), "{text}");
    }
}

#[test]
fn distributions() {
    let ms = SimDuration::from_millis;
    good(
        parse_distribution,
        &[("5ms", Distribution::Fixed(ms(5))), ("2ms..8ms", Distribution::Uniform { low: ms(2), high: ms(8) })],
    );
    bad(parse_distribution, &[("8ms..2ms", "`8ms..2ms` runs backwards"), ("2..8ms", "`2` has no unit")]);
}

/// The network goes by mean and deviation: the figures are checked against the formulas of the distributions, worked
/// out by hand for a sigma of 1 and an alpha of 4.
#[test]
fn percentiles_become_mean_and_deviation() {
    let near = |actual: SimDuration, expected: f64| {
        assert!((actual.as_secs_f64() - expected).abs() < 1e-6, "{actual}, not {expected} s");
    };
    let median = SimDuration::from_millis(10);
    // e^2.3263479 = 10.2405
    let p99 = SimDuration::from_nanos(102_404_734);
    let Ok(Delay::LogNormal { mean, deviation }) = (Distribution::LogNormal { median, p99 }).to_delay() else {
        panic!("a lognormal latency")
    };
    near(mean, 0.010 * 1.648_721_27);
    near(deviation, 0.010 * 2.161_197_42);
    // 100^(1/4) = 3.1622777
    let p99 = SimDuration::from_nanos(31_622_777);
    let Ok(Delay::Pareto { mean, deviation }) = (Distribution::Pareto { min: median, p99 }).to_delay() else {
        panic!("a Pareto latency")
    };
    near(mean, 0.010 * 4.0 / 3.0);
    near(deviation, 0.010 * (4.0f64 / (9.0 * 2.0)).sqrt());
    assert!(Distribution::Pareto { min: median, p99: median * 10 }.to_delay().is_err());
}
