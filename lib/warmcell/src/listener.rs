//! Who follows a text while it is written: a streamer that prints, or shows it on the page with a button that
//! ends it, and a function. What is written, `generate` and pipelines say.

use wire::{
    FailureKind,
    generate::{Generated, StreamOptions, StreamedToken},
    host::{Request, Response},
    model::ModelSource,
};

use crate::{Error, Result, TextStreamer, Tokenizer, backend::run_live, live::Live};

/// A function that gets each token.
pub(crate) type OnToken = Box<dyn FnMut(&StreamedToken)>;

/// Who follows a text.
#[derive(Default)]
pub(crate) struct Listener {
    pub streamer: Option<TextStreamer>,
    pub on_token: Option<OnToken>,
}

impl Listener {
    /// How the text is to be cut; `None` where nobody follows it.
    pub fn options(&self) -> Option<StreamOptions> {
        match (&self.streamer, &self.on_token) {
            (Some(streamer), _) => Some(streamer.options()),
            (None, Some(_)) => Some(StreamOptions {
                skip_prompt: true,
                skip_special_tokens: true,
                clean_up_tokenization_spaces: None,
            }),
            (None, None) => None,
        }
    }

    /// Fails where the streamer is of another tokenizer than the text.
    pub fn check(&self, tokenizer: &ModelSource) -> Result<()> {
        match &self.streamer {
            Some(streamer) => check_streamer(streamer, tokenizer),
            None => Ok(()),
        }
    }

    /// Runs a request to its end; also says whether the user has ended it by the button. `written` finds what
    /// then stands on the page.
    pub fn run(
        self,
        request: &Request,
        written: impl Fn(&Response) -> Option<Generated>,
    ) -> (Result<Response>, bool) {
        let Self {
            streamer,
            mut on_token,
        } = self;
        // A page that shows widgets has the text in one; everywhere else it is printed.
        let prints = streamer.as_ref().is_some_and(TextStreamer::prints);
        let mut live = prints.then(Live::start).flatten();
        let streamer = streamer.filter(|_| live.is_none());
        let mut last = LastText::default();
        let on_token = |token: &StreamedToken| {
            if let (Some(streamer), Some(text)) = (&streamer, last.pass(token)) {
                streamer.finalized(text, false);
            }
            if let Some(on_token) = &mut on_token {
                on_token(token);
            }
        };
        let response = run_live(request, on_token, &mut live);
        if let Some(streamer) = &streamer {
            streamer.finalized(&last.text, true);
        }
        let Some(live) = live else {
            return (response, false);
        };
        let generated = response.as_ref().ok().and_then(written);
        let is_stopped = live.is_stopped();
        live.finish(generated.as_ref());
        (response, is_stopped)
    }
}

/// The text that a streamer gets with the news that it is the last: what came free when the tokens had ended, as
/// transformers' `TextStreamer.end` has it.
#[derive(Default)]
struct LastText {
    has_begun: bool,
    text: String,
}

impl LastText {
    /// The text to hand on now; `None` where it waits for the end. What is of no token is the prompt's text at first,
    /// and the last text later.
    fn pass<'t>(&mut self, token: &'t StreamedToken) -> Option<&'t str> {
        if token.id.is_none() && std::mem::replace(&mut self.has_begun, true) {
            self.text.push_str(&token.text);
            return None;
        }
        self.has_begun = true;
        Some(&token.text)
    }
}

/// The text comes from the model's own tokenizer; a streamer of another would be ignored silently.
pub(crate) fn check_streamer(streamer: &TextStreamer, tokenizer: &ModelSource) -> Result<()> {
    // Of one source: nothing has to be asked.
    if streamer.tokenizer().source == *tokenizer {
        return Ok(());
    }
    let own = Tokenizer::load(tokenizer.clone())?;
    if own.own_fingerprint == streamer.tokenizer().own_fingerprint {
        return Ok(());
    }
    let message = format!(
        "the streamer's tokenizer is not that of `{}`",
        tokenizer.repo
    );
    Err(Error::new(FailureKind::InvalidArgument, message)
        .with_hint("make it with `TextStreamer::new(&model.tokenizer()?)`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It once came as any other, and an empty one as the last.
    #[test]
    fn what_comes_free_at_the_end_is_the_last_text() {
        let token = |id, text: &str| StreamedToken::now(id, text.to_owned());
        let mut last = LastText::default();
        let tokens = [
            token(None, "Once upon "),
            token(Some(4), "a "),
            token(Some(5), ""),
            token(None, "rest"),
        ];
        let passed = tokens.each_ref().map(|token| last.pass(token));
        assert_eq!(passed, [Some("Once upon "), Some("a "), Some(""), None]);
        assert_eq!(last.text, "rest");
    }
}
