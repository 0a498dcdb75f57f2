//! Processors that make tokens less or more likely by a factor.

use wire::Failure;

use crate::failures::invalid;

/// A penalty that does something.
pub fn checked(penalty: Option<f64>) -> Result<Option<f64>, Failure> {
    let Some(penalty) = penalty else {
        return Ok(None);
    };
    if penalty.is_nan() || penalty <= 0.0 {
        return Err(invalid(format!(
            "`penalty` has to be a strictly positive float, but is {penalty}"
        ))
        .hint("a penalty of 1.0 is off"));
    }
    #[expect(
        clippy::float_cmp,
        reason = "1 is the value that means off, as written"
    )]
    Ok((penalty != 1.0).then_some(penalty))
}

/// Each token that was seen once, however often: below zero times the penalty, above divided by it.
pub fn repetition(logits: &mut [f32], ids: &[u32], penalty: f32) {
    let mut seen = ids.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit < 0.0 {
                *logit * penalty
            } else {
                *logit / penalty
            };
        }
    }
}

/// `ExponentialDecayLengthPenalty`, `over` tokens past its start, of each token once, however often it is listed.
/// A token that was ruled out stays so: transformers makes it a NaN, which then is the likeliest.
pub fn exponential_decay(logits: &mut [f32], eos: &[u32], factor: f64, over: usize) {
    if over == 0 {
        return;
    }
    let gain = (factor.powi(i32::try_from(over).unwrap_or(i32::MAX)) - 1.0) as f32;
    for (place, &id) in eos.iter().enumerate() {
        if eos[..place].contains(&id) {
            continue;
        }
        if let Some(logit) = logits
            .get_mut(id as usize)
            .filter(|logit| logit.is_finite())
        {
            *logit += logit.abs() * gain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_ruled_out_does_not_come_back() {
        let mut logits = [1.0, f32::NEG_INFINITY];
        exponential_decay(&mut logits, &[0, 1], 2.0, 2);
        assert!((logits[0] - 4.0).abs() < 1e-6 && logits[1] == f32::NEG_INFINITY);
    }

    #[test]
    fn an_end_that_is_listed_twice_gains_once() {
        let mut logits = [1.0, -1.0];
        exponential_decay(&mut logits, &[0, 1, 0, 1], 2.0, 1);
        assert!((logits[0] - 2.0).abs() < 1e-6 && logits[1].abs() < 1e-6);
    }
}
