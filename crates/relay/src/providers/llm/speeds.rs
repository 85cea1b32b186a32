//! The measured speed of each model, as moving averages.

use std::collections::HashMap;
use std::time::Duration;

use llamapool_wire::llm::Speed;

/// The part of a new measurement in an average.
const NEW_PART: f64 = 1.0 / 8.0;
/// The fewest tokens that a measurement of the prompt needs: less is dominated by other costs.
const FEWEST_PROMPT_TOKENS: u64 = 32;
/// The fewest tokens that a measurement of the answer needs.
const FEWEST_ANSWER_TOKENS: u64 = 4;
/// The most models with a measured speed: each is some 70 bytes of an event that has a bound.
const MAX_MODELS: usize = 96;

/// The speeds of all models of one runtime, by their names.
#[derive(Default)]
pub(super) struct Speeds(HashMap<String, MeasuredSpeed>);

/// The speed of one model, 0 where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct MeasuredSpeed {
    prefill: f64,
    decode: f64,
    load_ms: f64,
}

/// What one call measured.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measurement {
    /// Tokens of the prompt that were not in the cache.
    pub(super) read: u64,
    /// Tokens that were written.
    pub(super) written: u64,
    /// From the request to first content.
    pub(super) first: Duration,
    /// From first content to the end.
    pub(super) rest: Duration,
    /// Whether the model had to be loaded for it.
    pub(super) was_cold: bool,
}

impl Speeds {
    /// Adds what a call measured. Returns whether the model had no speed before.
    pub(super) fn add(&mut self, model: &str, measured: Measurement) -> bool {
        if !self.0.contains_key(model) && self.0.len() >= MAX_MODELS {
            return false;
        }
        let is_new = !self.0.contains_key(model);
        let speed = self.0.entry(model.to_owned()).or_default();
        let first = measured.first.as_secs_f64();
        let rest = measured.rest.as_secs_f64();

        if measured.was_cold {
            let reading = if speed.prefill > 0.0 {
                measured.read as f64 / speed.prefill
            } else {
                0.0
            };
            average(&mut speed.load_ms, (first - reading).max(0.0) * 1000.0);
        } else if measured.read >= FEWEST_PROMPT_TOKENS && first > 0.0 {
            average(&mut speed.prefill, measured.read as f64 / first);
        }
        if measured.written >= FEWEST_ANSWER_TOKENS && rest > 0.0 {
            average(&mut speed.decode, (measured.written - 1) as f64 / rest);
        }
        is_new
    }

    /// Returns the expected time in which so many tokens of a prompt are read, `None` if the speed is
    /// not known.
    pub(super) fn reading_time(&self, model: &str, tokens: u64) -> Option<Duration> {
        let speed = self.0.get(model).filter(|speed| speed.prefill > 0.0)?;
        Duration::try_from_secs_f64(tokens as f64 / speed.prefill).ok()
    }

    /// Returns the speeds of the models of a list, with their indices.
    pub(super) fn of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Speed> {
        let known = names.zip(0..).filter_map(|(name, model)| {
            let speed = self.0.get(name)?;
            Some(Speed {
                model,
                prefill: rounded(speed.prefill),
                decode: rounded(speed.decode),
                load_ms: speed.load_ms as u64,
            })
        });
        known.collect()
    }

    /// Forgets models that are not offered any more.
    pub(super) fn retain<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone) {
        self.0
            .retain(|name, _| names.clone().any(|other| other == name));
    }
}

/// Returns a speed with as many digits as it is known to.
fn rounded(speed: f64) -> f64 {
    (speed * 100.0).round() / 100.0
}

fn average(average: &mut f64, new: f64) {
    *average = if *average > 0.0 {
        *average + (new - *average) * NEW_PART
    } else {
        new
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_averages_of_what_calls_took() {
        let mut speeds = Speeds::default();
        let call = |read, first_ms| Measurement {
            read,
            written: 11,
            first: Duration::from_millis(first_ms),
            rest: Duration::from_secs(1),
            was_cold: false,
        };

        assert!(speeds.add("m", call(100, 1000)));
        assert!(!speeds.add("m", call(100, 500)));
        speeds.add("m", call(5, 1));
        speeds.add(
            "m",
            Measurement {
                was_cold: true,
                ..call(225, 4000)
            },
        );

        let known = speeds.of(["other", "m"].into_iter());
        assert_eq!(known.len(), 1);
        assert_eq!(
            (known[0].model, known[0].prefill, known[0].decode),
            (1, 112.5, 10.0)
        );
        assert_eq!(known[0].load_ms, 2000);
        assert_eq!(speeds.reading_time("m", 225), Some(Duration::from_secs(2)));
        assert_eq!(speeds.reading_time("other", 225), None);
    }
}
