//! How likely each generated token was, and what stood beside it. How that looks is `display`'s.

use serde::{Deserialize, Deserializer, Serialize};

/// The tokens of a sequence with their probabilities, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// One for each token that was added.
    pub tokens: Vec<TokenLogprob>,
}

/// A token that was chosen, and what might have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// What was chosen.
    pub token: ScoredToken,
    /// The likeliest tokens, the likeliest first: as many as were asked for, the chosen one among them
    /// where it is one of them. Those that were ruled out are not there.
    pub alternatives: Vec<ScoredToken>,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredToken {
    /// Its id.
    pub id: u32,
    /// What it adds to the text before it, blanks included; its spelling in the vocabulary where that is
    /// only a part of a character.
    pub text: String,
    /// Natural logarithm of its probability among all tokens, after all processors.
    #[serde(deserialize_with = "or_impossible")]
    pub logprob: f32,
}

impl ScoredToken {
    /// Its probability, from 0 to 1.
    pub fn probability(&self) -> f32 {
        self.logprob.exp()
    }
}

impl Logprobs {
    /// The logarithm of the probability of the whole sequence.
    pub fn total(&self) -> f64 {
        let all = self.tokens.iter();
        all.map(|one| f64::from(one.token.logprob)).sum()
    }

    /// The logarithm of the mean (geometric) probability of a token; 0 of none.
    pub fn mean(&self) -> f64 {
        self.total() / self.tokens.len().max(1) as f64
    }

    /// The perplexity of the sequence: between how many equally likely tokens it chose, on average.
    pub fn perplexity(&self) -> f64 {
        (-self.mean()).exp()
    }
}

/// JSON has no infinity: what was written as `null` was that of an impossible token.
fn or_impossible<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let value = Option::<f32>::deserialize(deserializer)?;
    Ok(value.unwrap_or(f32::NEG_INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(values: &[f32]) -> Logprobs {
        let token = |&logprob| TokenLogprob {
            token: ScoredToken {
                id: 1,
                text: "a".to_owned(),
                logprob,
            },
            alternatives: Vec::new(),
        };
        Logprobs {
            tokens: values.iter().map(token).collect(),
        }
    }

    #[test]
    fn perplexity_is_the_number_of_equally_likely_choices() {
        let quarter = sequence(&[0.25_f32.ln(); 7]);
        assert!((quarter.perplexity() - 4.0).abs() < 1e-5);
        assert!((sequence(&[]).perplexity() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_impossible_survives_both_formats() {
        let impossible = sequence(&[f32::NEG_INFINITY, -0.5]);
        let bytes = rmp_serde::to_vec_named(&impossible).expect("is written");
        let read: Logprobs = rmp_serde::from_slice(&bytes).expect("is read");
        assert_eq!(read, impossible);
        let json = serde_json::to_string(&impossible).expect("is written");
        let read: Logprobs = serde_json::from_str(&json).expect("is read");
        assert_eq!(read, impossible);
    }
}
