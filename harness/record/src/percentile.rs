//! Percentiles, exact: the record keeps every value, so nothing need be estimated.

/// The value at `per_mille` thousandths by the nearest-rank method: the smallest value that at least that share of
/// all values does not exceed. `None` of no values. Reorders `values`.
pub(crate) fn percentile(values: &mut [u64], per_mille: u64) -> Option<u64> {
    let count = u64::try_from(values.len()).ok().filter(|count| *count > 0)?;
    let rank = (u128::from(count) * u128::from(per_mille.min(1000))).div_ceil(1000).max(1);
    let index = usize::try_from(rank - 1).ok()?;
    Some(*values.select_nth_unstable(index).1)
}

/// The mean, rounded down. `None` of no values.
pub(crate) fn mean(values: &[u64]) -> Option<u64> {
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    let count = u128::try_from(values.len()).ok().filter(|count| *count > 0)?;
    u64::try_from(sum / count).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nearest_rank() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        for (per_mille, expected) in [(0, 1), (500, 50), (900, 90), (990, 99), (999, 100), (1000, 100)] {
            assert_eq!(percentile(&mut hundred.clone(), per_mille), Some(expected), "{per_mille}");
        }
        assert_eq!(percentile(&mut [7], 10), Some(7));
        assert_eq!(percentile(&mut [], 500), None);
        assert_eq!(mean(&[1, 2, 4]), Some(2));
        assert_eq!(mean(&[]), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_monotone_and_among_the_values(mut values in prop::collection::vec(any::<u64>(), 1..200)) {
            let mut previous = 0;
            for per_mille in [0, 1, 500, 900, 990, 999, 1000] {
                let value = percentile(&mut values, per_mille).unwrap();
                prop_assert!(value >= previous);
                prop_assert!(values.contains(&value));
                previous = value;
            }
            prop_assert_eq!(previous, *values.iter().max().unwrap());
        }
    }
}
