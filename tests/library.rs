//! The library form: programs of a test's own, runs as values, and what a program sees of load and faults.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // Programs under test read clocks and sleep: that is what is tested.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use halfopen::program::{run_async, run_blocking};
use halfopen::{Env, OpError, OpErrorKind, Run, Scenario, Verdict};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What an op does that takes a while.
fn nap(span: Duration) -> Result<(), OpError> {
    thread::sleep(span);
    Ok(())
}

/// Asserts how the run of a program came out that asserts its own part: its own panic would be an error.
#[track_caller]
fn check(runs: &[Run], verdict: Verdict, metrics: &[(&str, f64)]) {
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].verdict(), verdict, "{}", runs[0].report());
    for &(metric, figure) in metrics {
        assert_eq!(runs[0].metric(metric), Some(figure), "{metric}\n{}", runs[0].report());
    }
}

#[halfopen::test("scenarios/steady.yaml", host = "app", variant = "right", then = twenty_quick_ops)]
fn a_blocking_program(env: Env) {
    env.drive_blocking(1, |_| nap(ms(20)));
}

#[halfopen::test("scenarios/steady.yaml", host = "app", variant = "right", then = twenty_quick_ops)]
async fn an_async_program(env: Env) {
    env.drive(|_| async {
        tokio::time::sleep(ms(20)).await;
        Ok::<(), OpError>(())
    })
    .await;
}

#[halfopen::test("scenarios/steady.yaml", host = "app", variant = "right")]
async fn a_program_that_returns_a_result(env: Env) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let there = listener.local_addr()?;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    env.drive(|_| tokio::net::TcpStream::connect(there)).await;
    Ok(())
}

fn twenty_quick_ops(run: &Run) {
    assert_eq!(run.variant(), Some("right"));
    assert_eq!(run.metric("ops.ok"), Some(20.0));
    let latency = run.metric("ops.latency.max").expect("ops have a latency");
    // tokio's timer has steps of a millisecond.
    assert!((0.020..0.022).contains(&latency), "{latency}");
}

#[halfopen::test("scenarios/steady.yaml", host = "app", variant = "right", seed = 7, then = has_seed_seven)]
fn a_seed_of_its_own(env: Env) {
    env.drive_blocking(1, |_| nap(ms(1)));
}

fn has_seed_seven(run: &Run) {
    assert!(run.report().lines().next().is_some_and(|line| line.contains("  seed 7  ")), "{}", run.report());
}

#[halfopen::test("scenarios/steady.yaml", host = "app", variant = "right", then = complain)]
#[should_panic(expected = "that is what `then` is for: 20 ops")]
fn then_gets_the_run(env: Env) {
    env.drive_blocking(1, |_| nap(ms(1)));
}

fn complain(run: &Run) {
    panic!("that is what `then` is for: {} ops", run.metric("ops.total").unwrap_or_default());
}

#[test]
fn every_variant_is_a_run_of_its_own() {
    let program = run_blocking(|env: Env| {
        let year = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = year(SystemTime::now());
        env.gauge("pool.size", i64::try_from(wall.as_secs() / 3600 % 24).unwrap_or_default());
        env.drive_blocking(1, |_| nap(ms(1)));
    });
    let runs = halfopen::scenario!("scenarios/steady.yaml").program("app", program).run();
    Scenario::assert_pass(&runs);
    let names: Vec<Option<&str>> = runs.iter().map(Run::variant).collect();
    assert_eq!(names, [Some("right"), Some("fast")]);
    let hours: Vec<f64> = runs.iter().filter_map(|run| run.metric("pool.size")).collect();
    assert_eq!(hours.len(), 2);
    assert_eq!(hours[1], hours[0] + 1.0, "one host's clock is an hour fast");
    assert_ne!(runs[0].fingerprint(), runs[1].fingerprint());
}

#[test]
fn a_run_is_a_value() {
    let program = run_blocking(|env: Env| {
        env.drive_blocking(1, |op| match op.id() {
            3 | 4 => Err(OpError::new(OpErrorKind::Refused, "not today")),
            _ => nap(ms(20)),
        });
    });
    let runs = halfopen::scenario!("scenarios/steady.yaml").program("app", program).variant("right").run();
    check(&runs, Verdict::Fail, &[("ops.ok", 18.0), ("ops.failed", 2.0), ("errors.refused", 2.0)]);
    let run = &runs[0];
    assert_eq!(run.error(), None);
    assert_eq!(run.metric("no.such.metric"), None);
    assert_eq!(run.fingerprint().len(), 16);
    insta::assert_snapshot!(run.table(), @r"
    per 100ms:
    time  ops  ok  refused   p99  ops
    0.0s    1   1        .  20ms  ==============================
    0.1s    1   1        .  20ms  ==============================
    0.2s    1   .        1    0s  ==============================
    0.3s    1   .        1    0s  ==============================
    0.4s    1   1        .  20ms  ==============================
    0.5s    1   1        .  20ms  ==============================
    0.6s    1   1        .  20ms  ==============================
    0.7s    1   1        .  20ms  ==============================
    0.8s    1   1        .  20ms  ==============================
    0.9s    1   1        .  20ms  ==============================
    1.0s    1   1        .  20ms  ==============================
    1.1s    1   1        .  20ms  ==============================
    1.2s    1   1        .  20ms  ==============================
    1.3s    1   1        .  20ms  ==============================
    1.4s    1   1        .  20ms  ==============================
    1.5s    1   1        .  20ms  ==============================
    1.6s    1   1        .  20ms  ==============================
    1.7s    1   1        .  20ms  ==============================
    1.8s    1   1        .  20ms  ==============================
    1.9s    1   1        .  20ms  ==============================
    ");
    // A test that asserts on the verdict fails with the report that the command line prints.
    let panic = catch_unwind(|| Scenario::assert_pass(&runs)).expect_err("the run did not pass");
    assert_eq!(said(&*panic).trim_start(), run.report());
    insta::assert_snapshot!(masked(&run.report()), @r"
    FAIL  steady [right]  2s virtual in [wall]  [fingerprint]
      FAIL  ops.failed == 0  2
      ok    ops.hung == 0    0

    [table]

      outage review
        Would a restart have healed it? no
          2 ops failed in the run, but nothing was seen that a restart would have dropped
        (nothing was seen that could answer the other 6)

      replay: cargo test -- --exact a_run_is_a_value
    ");
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

/// The report without its table, and without what real time and the binary change.
fn masked(report: &str) -> String {
    let (head, rest) = report.split_once("\n\n").unwrap_or((report, ""));
    let (_, rest) = rest.split_once("\n\n").unwrap_or(("", rest));
    let (first, others) = head.split_once('\n').unwrap_or((head, ""));
    let name = first.split("  ").take(3).collect::<Vec<_>>().join("  ");
    let name = name.split(" in ").next().unwrap_or_default();
    format!("{name} in [wall]  [fingerprint]\n{others}\n\n[table]\n\n{rest}")
}

#[test]
fn a_broken_file_panics_with_every_mistake() {
    let run = || halfopen::scenario!("scenarios/broken.yaml").program("app", run_blocking(|_: Env| ())).run();
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("the file is broken");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    insta::assert_snapshot!(said(&*panic).replace(folder, ""), @r"
    error: `2` has no unit
      --> scenarios/broken.yaml:10:43
       |
    10 |   - { on: app, op: work, rate: 10/s, for: 2 }
       |                                           ^
       |
       = help: say of what, as in `2s`; units: ns, us, ms, s, m, min, h, d

    error: there is no metric `ops.faild`
      --> scenarios/broken.yaml:13:5
       |
    13 |   - ops.faild == 0
       |     ^^^^^^^^^
       |
       = help: did you mean `ops.failed`?

    2 mistakes
    ");
}

#[test]
fn an_unknown_variant_or_host_is_told() {
    let scenario = || halfopen::scenario!("scenarios/steady.yaml");
    for (scenario, says) in [
        (scenario().program("app", run_blocking(|_: Env| ())).variant("slow"), "steady.yaml has no variant `slow`"),
        (scenario().program("ap", run_blocking(|_: Env| ())), "has no host `ap`"),
        (scenario(), "host `app` gets load but runs nothing"),
    ] {
        let panic = catch_unwind(AssertUnwindSafe(|| scenario.run())).expect_err("nothing can be run");
        assert!(said(&*panic).contains(says), "{}", said(&*panic));
    }
}

#[test]
fn a_scenario_outside_of_a_test_is_told() {
    fn helper() -> Vec<Run> {
        let program = run_blocking(|env: Env| env.drive_blocking(1, |_| nap(ms(1))));
        halfopen::scenario!("scenarios/alone.yaml").program("app", program).run()
    }
    let runs = helper();
    check(&runs, Verdict::Error, &[]);
    let error = runs[0].error().unwrap_or_default();
    assert!(error.contains("help: `halfopen::scenario!` stands in the test function itself"), "{error}");
}

/// Pushes the time since `since` when it is dropped.
struct Dropped {
    since: Instant,
    log: Arc<Mutex<Vec<Duration>>>,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(self.since.elapsed());
    }
}

#[test]
fn a_deadline_drops_the_future() {
    let program = run_async(|env: Env| async move {
        let log = Arc::new(Mutex::new(Vec::new()));
        env.drive(|op| {
            let guard = Dropped { since: op.started(), log: Arc::clone(&log) };
            assert_eq!(op.deadline(), Some(op.started() + ms(1000)));
            assert_eq!(op.remaining(), Some(ms(1000)));
            async move {
                let _guard = guard;
                std::future::pending::<Result<(), OpError>>().await
            }
        })
        .await;
        assert_eq!(*log.lock().unwrap(), [ms(1000); 20]);
    });
    let runs = halfopen::scenario!("scenarios/steady.yaml").program("app", program).variant("right").run();
    let metrics = [("ops.failed", 20.0), ("errors.deadline", 20.0), ("ops.hung", 0.0), ("ops.latency.max", 1.0)];
    check(&runs, Verdict::Fail, &metrics);
}

#[test]
fn a_blocking_call_cannot_be_taken_back() {
    let program = run_blocking(|env: Env| {
        let began = Instant::now();
        let calls = Mutex::new(Vec::new());
        env.drive_blocking(1, |op| {
            calls.lock().unwrap().push((op.id(), began.elapsed()));
            nap(ms(1430))
        });
        // The one thread is busy past the first deadline. Ops that are late by then are not begun: the sixth, asked for
        // at 0.5 s, is the first that is not; the next is the last, asked for at 1.9 s.
        assert_eq!(*calls.lock().unwrap(), [(1, ms(0)), (6, ms(1430)), (20, ms(2860))]);
        assert_eq!(began.elapsed(), ms(4290));
    });
    let runs = halfopen::scenario!("scenarios/steady.yaml").program("app", program).variant("right").run();
    check(&runs, Verdict::Fail, &[("errors.deadline", 20.0), ("ops.hung", 0.0), ("ops.latency.max", 1.0)]);
}

#[test]
fn a_closed_loop_keeps_so_many_under_way() {
    let program = run_async(|env: Env| async move {
        let (under_way, most) = (AtomicU32::new(0), AtomicU32::new(0));
        env.drive(|_| {
            most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            async {
                tokio::time::sleep(ms(100)).await;
                under_way.fetch_sub(1, Ordering::Relaxed);
                Ok::<(), OpError>(())
            }
        })
        .await;
        assert_eq!(most.into_inner(), 4);
    });
    let runs = halfopen::scenario!("scenarios/closed.yaml").program("app", program).run();
    check(&runs, Verdict::Pass, &[("ops.failed", 0.0)]);
    let total = runs[0].metric("ops.total").expect("ops");
    // tokio's timer has steps of a millisecond, so that each op takes 100 or 101 ms.
    assert!((396.0..=400.0).contains(&total), "{total}");
}

#[test]
fn groups_take_turns_and_counts_are_kept() {
    let program = run_blocking(|env: Env| {
        let began = Instant::now();
        let first_op = OnceLock::new();
        env.drive_blocking(1, |op| {
            first_op.get_or_init(|| op.started().duration_since(began));
            match env.host() {
                "first-1" => nap(ms(200)),
                "first-2" => nap(ms(500)),
                _ => nap(ms(10)),
            }
        });
        let phase = if env.host() == "second" { ms(1500) } else { ms(0) };
        assert_eq!(first_op.get(), Some(&phase), "{}", env.host());
    });
    let scenario = halfopen::scenario!("scenarios/turns.yaml");
    let runs = scenario.program("first", program.clone()).program("second", program).run();
    check(&runs, Verdict::Pass, &[("ops.total", 16.0), ("ops.ok", 16.0)]);
}

#[test]
fn poisson_arrivals_keep_their_mean_and_have_no_rhythm() {
    let program = run_async(|env: Env| async move {
        let mut starts = Vec::new();
        env.drive(|op| {
            starts.push(op.started());
            async { Ok::<(), OpError>(()) }
        })
        .await;
        let gaps: Vec<f64> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // A hundred a second; the standard deviation of an exponential distribution is its mean.
        assert!((0.009..0.011).contains(&mean), "{mean}");
        assert!((0.85..1.15).contains(&(variance.sqrt() / mean)), "{}", variance.sqrt() / mean);
    });
    let runs = halfopen::scenario!("scenarios/poisson.yaml").program("app", program).run();
    check(&runs, Verdict::Pass, &[("ops.failed", 0.0)]);
    let total = runs[0].metric("ops.total").expect("ops");
    assert!((900.0..1100.0).contains(&total), "{total}");
}

/// What one op saw: which life of the program it was in, the monotonic clock since the first, and the wall clock.
type Sight = (u32, Duration, SystemTime);

/// Outlive a program, as the process that runs all hosts does.
static LIVES: AtomicU32 = AtomicU32::new(0);
static BEGAN: OnceLock<(Instant, SystemTime)> = OnceLock::new();
static SEEN: Mutex<Vec<Sight>> = Mutex::new(Vec::new());

#[test]
fn a_program_sees_crash_restart_pause_and_clock() {
    let program = run_blocking(|env: Env| {
        let life = LIVES.fetch_add(1, Ordering::Relaxed) + 1;
        let &(began, _) = BEGAN.get_or_init(|| (Instant::now(), SystemTime::now()));
        env.drive_blocking(1, |_| {
            SEEN.lock().unwrap().push((life, began.elapsed(), SystemTime::now()));
            nap(ms(10))
        });
        check_sights();
    });
    let runs = halfopen::scenario!("scenarios/host-faults.yaml").program("app", program).run();
    check(&runs, Verdict::Pass, &[("hosts.crashed", 2.0), ("hosts.restarted", 2.0), ("ops.total", 380.0)]);
}

/// Called at the end of the last life.
fn check_sights() {
    let seen = SEEN.lock().unwrap();
    let (_, wall_began) = BEGAN.get().expect("set by the first life");
    let between = |from: u64, to: u64| seen.iter().filter(move |(_, at, _)| (ms(from)..ms(to)).contains(at));
    let lives = |from, to| between(from, to).map(|&(life, ..)| life).collect::<std::collections::BTreeSet<u32>>();
    assert_eq!(lives(0, 5000), [1].into());
    assert_eq!(between(5000, 7000).count(), 0, "crashed");
    assert_eq!(lives(7000, 10_000), [2].into());
    assert_eq!(lives(10_000, 40_000), [3].into());
    assert_eq!(between(20_001, 23_000).count(), 0, "paused");
    for (_, at, wall) in seen.iter() {
        let jump = if (ms(30_000)..ms(35_000)).contains(at) { Duration::from_secs(3600) } else { Duration::ZERO };
        assert_eq!(wall.duration_since(*wall_began).expect("forward"), *at + jump, "at {at:?}");
    }
}
