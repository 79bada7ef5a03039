use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ended::Ended;
use crate::output::Output;
use crate::render::says::{self, one_line};

/// The steps of a connection: on a terminal the present one turns and counts its seconds and those before stay as
/// lines; in a pipe each is a line at once; for JSON there are none.
pub(crate) struct Steps {
    output: Output,
    bar: Option<ProgressBar>,
    present: String,
}

impl Steps {
    pub(crate) fn new(output: Output) -> Self {
        let bar = output.live.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { output, bar, present: String::new() }
    }

    pub(crate) fn step(&mut self, text: &str) -> Result<(), Ended> {
        let text = one_line(text);
        match &self.bar {
            _ if self.output.json => Ok(()),
            None => self.output.line(&text),
            Some(bar) => {
                if !self.present.is_empty() {
                    bar.println(says::step_over(true, &self.present, self.output.out));
                }
                bar.set_message(text.clone());
                bar.reset_elapsed();
                self.present = text;
                Ok(())
            }
        }
    }

    /// Leaves the terminal to a question.
    pub(crate) fn pause(&self) {
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Goes on after it.
    pub(crate) fn go_on(&self) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::stdout());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// No step follows; whether the present one went well.
    pub(crate) fn end(self, well: bool) {
        if let Some(bar) = &self.bar {
            if !self.present.is_empty() {
                bar.println(says::step_over(well, &self.present, self.output.out));
            }
            bar.finish_and_clear();
        }
    }
}
