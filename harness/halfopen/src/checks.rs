//! From the expectations of a plan to the checks that a record is judged by.

use halfopen_record::{Check, Comparison, Phase, Scope, Threshold};
use halfopen_scenario::plan::{self, Expectation, Plan};

pub(crate) fn checks(plan: &Plan) -> Vec<Check> {
    plan.expect.iter().map(|expectation| check(plan, expectation)).collect()
}

fn check(plan: &Plan, expectation: &Expectation) -> Check {
    Check {
        text: expectation.text.clone(),
        line: Some(expectation.line),
        metric: expectation.metric.clone(),
        scope: match &expectation.scope {
            None => Scope::All,
            Some(scope) => Scope::Hosts(scope.hosts.iter().map(|&host| plan.host(host).name.clone()).collect()),
        },
        phase: match &expectation.phase {
            None => Phase::Whole,
            Some(of) => match of.phase {
                plan::Phase::Before => Phase::Before(of.fault.clone()),
                plan::Phase::During => Phase::During(of.fault.clone()),
                plan::Phase::After => Phase::After(of.fault.clone()),
            },
        },
        comparison: match expectation.comparison {
            plan::Comparison::Lt => Comparison::Less,
            plan::Comparison::Le => Comparison::AtMost,
            plan::Comparison::Gt => Comparison::More,
            plan::Comparison::Ge => Comparison::AtLeast,
            plan::Comparison::Eq => Comparison::Equal,
            plan::Comparison::Ne => Comparison::NotEqual,
        },
        threshold: match expectation.value {
            plan::Threshold::Number(figure) => Threshold::Figure(figure),
            plan::Threshold::Share(share) => Threshold::Share(share.as_f64()),
            plan::Threshold::Duration(span) => Threshold::Figure(span.as_secs_f64()),
            plan::Threshold::Flag(flag) => Threshold::Figure(f64::from(u8::from(flag))),
        },
        must_fail: expectation.must_fail,
    }
}
