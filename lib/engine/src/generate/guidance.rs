//! Classifier-free guidance: the model reads, beside each sequence, what it would say without the prompt, and
//! logits move away from that (`UnbatchedClassifierFreeGuidanceLogitsProcessor` of transformers 4.57). It is
//! the first of the processors; since it needs the model, the loops call it before the others.

use wire::Failure;

use super::{Generator, Settings, batch::Batch, processors::log_softmax, reading::Reader};
use crate::{Cancel, failures, layers::KvCache};

/// What guidance does.
#[derive(Clone, Debug, PartialEq)]
pub struct Guidance {
    /// How far logits move; 1 is not at all, 0 all the way to those without the prompt.
    pub scale: f32,
    /// What is read in the place of the prompts; their last tokens when there is nothing.
    pub negative: Option<Vec<Vec<u32>>>,
}

/// The sequences without their prompts.
pub struct Guide<'a> {
    generator: Generator<'a>,
    reader: Reader<'a>,
    guidance: &'a Guidance,
    /// What was read of each row, and its keys and values; `None` before the first token.
    read: Option<(Vec<Vec<u32>>, KvCache)>,
}

/// What the model says of a row without its prompt.
pub struct Unguided {
    scale: f32,
    log_probabilities: Vec<f32>,
}

impl<'a> Guide<'a> {
    /// The other side of a generation; `None` where nothing guides it.
    pub fn new(
        generator: Generator<'a>,
        settings: &'a Settings,
        cancel: &'a Cancel,
    ) -> Option<Self> {
        Some(Self {
            generator,
            reader: Reader {
                seat: generator.seat,
                cancel,
            },
            guidance: settings.guidance.as_ref()?,
            read: None,
        })
    }

    /// Reads on after the last tokens of sequences, of which there are as many each time; `None` when
    /// cancelled.
    pub fn read(&mut self, sequences: &[&[u32]]) -> Result<Option<Vec<Unguided>>, Failure> {
        let last = sequences.iter().map(|ids| ids.last().copied().unwrap_or(0));
        let (rows, cache) = match &mut self.read {
            Some((rows, cache)) => {
                rows.iter_mut().zip(last).for_each(|(row, id)| row.push(id));
                (rows, cache)
            }
            none => {
                let batch = match &self.guidance.negative {
                    Some(negative) => Batch::new(negative, 0),
                    None => Batch::new(&last.map(|id| vec![id]).collect::<Vec<_>>(), 0),
                };
                let cache = self.generator.new_cache(&batch.padding)?;
                let (rows, cache) = none.insert((batch.rows, cache));
                (rows, cache)
            }
        };
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let read = self.reader.read(&rows, cache, 1)?;
        let unguided = |logits: Vec<Vec<f32>>| {
            let mut log_probabilities = logits.into_iter().next_back().unwrap_or_default();
            log_softmax(&mut log_probabilities);
            Unguided {
                scale: self.guidance.scale,
                log_probabilities,
            }
        };
        Ok(read.map(|rows| rows.into_iter().map(unguided).collect()))
    }

    /// Goes on with these of the rows, in order; with none it is over.
    pub fn keep(&mut self, places: &[usize]) -> Result<(), Failure> {
        if let Some((rows, cache)) = &mut self.read
            && places.len() < rows.len()
            && !places.is_empty()
        {
            cache.reorder(places).map_err(failures::internal)?;
            *rows = places.iter().map(|&place| rows[place].clone()).collect();
        }
        Ok(())
    }
}

impl Unguided {
    /// Moves a row's logits, or logarithms of probabilities, away.
    pub fn guide(&self, logits: &mut [f32]) {
        log_softmax(logits);
        for (logit, without) in logits.iter_mut().zip(&self.log_probabilities) {
            *logit = self.scale * (*logit - without) + without;
        }
    }
}
