//! What a model can be given to continue: text, conversations, tokens, one of them or many.

use wire::generate::Prompt;

use crate::{BatchEncoding, Chat, Messages, TokenIds, Tokens};

/// What a model can continue. An array, a slice or a vector of prompts is a batch, padded on the left.
pub trait IntoPrompt {
    /// The prompts.
    fn into_prompts(self) -> Vec<Prompt>;
}

impl IntoPrompt for Prompt {
    fn into_prompts(self) -> Vec<Prompt> {
        vec![self]
    }
}

impl IntoPrompt for &str {
    fn into_prompts(self) -> Vec<Prompt> {
        vec![Prompt::Text(self.to_owned())]
    }
}

impl IntoPrompt for &String {
    fn into_prompts(self) -> Vec<Prompt> {
        self.as_str().into_prompts()
    }
}

/// A conversation is rendered by the model's own template, with the header of the answer.
impl IntoPrompt for &Messages {
    fn into_prompts(self) -> Vec<Prompt> {
        vec![Prompt::Chat(self.to_vec())]
    }
}

impl IntoPrompt for &Tokens {
    fn into_prompts(self) -> Vec<Prompt> {
        vec![Prompt::Ids {
            ids: self.ids().to_vec(),
            fingerprint: self.fingerprint().map(str::to_owned),
        }]
    }
}

/// A rendered conversation goes as it is, without its padding: its special tokens are not added a second
/// time.
impl IntoPrompt for &Chat {
    fn into_prompts(self) -> Vec<Prompt> {
        vec![unpadded(
            self.input_ids(),
            self.attention_mask(),
            self.fingerprint(),
        )]
    }
}

/// Each row is a prompt, without its padding.
impl IntoPrompt for &BatchEncoding {
    fn into_prompts(self) -> Vec<Prompt> {
        let rows = self.rows().map(|row| {
            let fingerprint = TokenIds::fingerprint(&row).unwrap_or_default();
            unpadded(row.ids(), row.attention_mask(), fingerprint)
        });
        rows.collect()
    }
}

impl<P: IntoPrompt, const N: usize> IntoPrompt for [P; N] {
    fn into_prompts(self) -> Vec<Prompt> {
        self.into_iter().flat_map(P::into_prompts).collect()
    }
}

impl<P: IntoPrompt> IntoPrompt for Vec<P> {
    fn into_prompts(self) -> Vec<Prompt> {
        self.into_iter().flat_map(P::into_prompts).collect()
    }
}

impl<'a, P> IntoPrompt for &'a [P]
where
    &'a P: IntoPrompt,
{
    fn into_prompts(self) -> Vec<Prompt> {
        self.iter().flat_map(IntoPrompt::into_prompts).collect()
    }
}

impl<'a, P> IntoPrompt for &'a Vec<P>
where
    &'a P: IntoPrompt,
{
    fn into_prompts(self) -> Vec<Prompt> {
        self.as_slice().into_prompts()
    }
}

impl<'a, P, const N: usize> IntoPrompt for &'a [P; N]
where
    &'a P: IntoPrompt,
{
    fn into_prompts(self) -> Vec<Prompt> {
        self.as_slice().into_prompts()
    }
}

impl IntoPrompt for &&str {
    fn into_prompts(self) -> Vec<Prompt> {
        (*self).into_prompts()
    }
}

fn unpadded(ids: &[u32], mask: &[u32], fingerprint: &str) -> Prompt {
    let pairs = ids.iter().zip(mask);
    Prompt::Ids {
        ids: pairs
            .filter(|(_, mask)| **mask == 1)
            .map(|(&id, _)| id)
            .collect(),
        fingerprint: Some(fingerprint.to_owned()),
    }
}
