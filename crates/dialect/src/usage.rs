//! Counts of tokens and embeddings, and how far they can be trusted.

use crate::endpoint::Endpoint;
use crate::members::{NotJsonError, each_item, each_member, is_filled, whole_number};

/// The counts of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, those from the cache included.
    pub prompt: Option<u64>,
    /// Tokens of the prompt that came from the cache.
    pub cached: Option<u64>,
    /// Tokens that were written.
    pub completion: Option<u64>,
    /// Vectors of embeddings that were made.
    pub embeddings: Option<u64>,
    /// Where the counts come from.
    pub source: CountSource,
}

/// Where counts come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CountSource {
    /// The runtime's `usage`. Trusted.
    Usage,
    /// The runtime's timings or native counts. Trusted.
    Timings,
    /// Events with content that passed, or counts that leave something out.
    Events,
    /// Nothing was counted.
    #[default]
    Estimate,
}

/// Collects the counts of one answer, wherever they stand in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsageReader {
    usage: Counts,
    timings: Counts,
    embeddings: Option<u64>,
    content_events: u64,
    has_timings: bool,
    has_many_choices: bool,
}

/// Counts as one source gives them.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    /// Written to the cache. Anthropic counts neither these nor `cached` as input.
    cache_creation: Option<u64>,
}

impl CountSource {
    /// Returns `true` for counts of the runtime that leave nothing out.
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Usage | Self::Timings)
    }
}

/// Collects the counts of a whole JSON answer, member by member.
#[derive(Debug, Default)]
pub(crate) struct AnswerUsage<'a> {
    counts: UsageReader,
    choices: Option<&'a str>,
    vectors: Option<&'a str>,
    has_vector: Option<bool>,
}

impl<'a> AnswerUsage<'a> {
    /// Takes a member of the answer.
    pub(crate) fn take(&mut self, endpoint: Endpoint, name: &str, value: &'a str) {
        self.counts.member(name, value);
        match (endpoint, name) {
            (Endpoint::Embeddings, "data") | (Endpoint::OllamaEmbed, "embeddings") => {
                self.vectors = Some(value);
            }
            (Endpoint::OllamaEmbeddings, "embedding") => self.has_vector = Some(is_filled(value)),
            (_, "choices") => self.choices = Some(value),
            _ => {}
        }
    }

    /// Returns the counts, once all members were taken.
    pub(crate) fn finish(self, endpoint: Endpoint) -> Usage {
        self.counted(endpoint).unwrap_or_default()
    }

    fn counted(mut self, endpoint: Endpoint) -> Result<Usage, NotJsonError> {
        let vectors = self.vectors.map(count_items).transpose()?;
        self.counts.embeddings = vectors.or(self.has_vector.map(u64::from));
        // Only beside timings does it matter how many there are, and they may be long.
        if self.counts.has_timings
            && let Some(choices) = self.choices
        {
            self.counts.has_many_choices = count_items(choices)? > 1;
        }
        Ok(self.counts.usage(endpoint))
    }
}

impl UsageReader {
    /// Takes a member of an answer, of an event, or of a choice in it.
    pub(crate) fn member(&mut self, name: &str, value: &str) {
        match name {
            "usage" => self.replace_usage(value),
            "timings" => {
                self.has_timings |= is_filled(value);
                self.timings.read_timings(value);
            }
            "prompt_eval_count" => self.timings.prompt = whole_number(value),
            "eval_count" => self.timings.completion = whole_number(value),
            _ => {}
        }
    }

    /// Takes `usage` in the place of an earlier one.
    fn replace_usage(&mut self, value: &str) {
        let mut counts = Counts::default();
        counts.read_usage(value);
        // Ollama puts zeros into every chunk before the one with the counts.
        if counts.prompt.unwrap_or(0) > 0
            || counts.completion.unwrap_or(0) > 0
            || counts.total.unwrap_or(0) > 0
        {
            self.usage = counts;
        }
    }

    /// Takes the `usage` of `message_start`. Its output is not counted yet.
    pub(crate) fn start_usage(&mut self, value: &str) {
        self.usage.read_usage(value);
        self.usage.completion = None;
    }

    /// Takes the `usage` of `message_delta`: its members replace those of the start.
    pub(crate) fn merge_usage(&mut self, value: &str) {
        self.usage.read_usage(value);
    }

    /// Counts events with content.
    pub(crate) fn content(&mut self, events: u64) {
        self.content_events += events;
    }

    /// Notes the number of a choice.
    pub(crate) fn choice(&mut self, index: u64) {
        self.has_many_choices |= index > 0;
    }

    /// Returns the counts so far.
    pub(crate) fn usage(&self, endpoint: Endpoint) -> Usage {
        let has_usage = self.usage.has_some();
        let counts = if has_usage { self.usage } else { self.timings };
        let cached = counts.cached.or(self.timings.cached);

        let is_messages = matches!(endpoint, Endpoint::Messages);
        let prompt = match counts.prompt {
            Some(prompt) if is_messages => {
                let beside = cached.unwrap_or(0).saturating_add(counts.created());
                Some(prompt.saturating_add(beside))
            }
            Some(prompt) => Some(prompt),
            None => counts.prompt_of_total(),
        };

        // llama.cpp counts one choice of several, and one prompt of a batch.
        let leaves_out = self.has_timings && self.has_many_choices;
        let is_cut = counts.completion.is_none() && self.content_events > 0;
        let source = if leaves_out || is_cut {
            CountSource::Events
        } else if has_usage {
            CountSource::Usage
        } else if self.timings.has_some() {
            CountSource::Timings
        } else {
            CountSource::Estimate
        };
        let completion = match source {
            CountSource::Events => counts.completion.max(Some(self.content_events)),
            _ => counts.completion,
        };
        Usage {
            prompt,
            cached: cached.map(|cached| cached.min(prompt.unwrap_or(cached))),
            completion,
            embeddings: self.embeddings,
            source,
        }
    }
}

impl Counts {
    fn has_some(&self) -> bool {
        self.prompt.is_some() || self.completion.is_some() || self.total.is_some()
    }

    fn created(&self) -> u64 {
        self.cache_creation.unwrap_or(0)
    }

    /// Returns the prompt where only the sum was given, as rerankers do.
    fn prompt_of_total(&self) -> Option<u64> {
        Some(self.total?.saturating_sub(self.completion.unwrap_or(0)))
    }

    /// Takes the members of a `usage` of any dialect. Those that it lacks stay.
    fn read_usage(&mut self, usage: &str) {
        let mut counts = *self;
        let read = each_member(usage, |member| {
            let place = match &*member.name {
                "prompt_tokens" | "input_tokens" => &mut counts.prompt,
                "completion_tokens" | "output_tokens" => &mut counts.completion,
                "total_tokens" => &mut counts.total,
                "cache_read_input_tokens" => &mut counts.cached,
                "cache_creation_input_tokens" => &mut counts.cache_creation,
                "prompt_tokens_details" | "input_tokens_details" => {
                    counts.read_details(member.value);
                    return Ok(());
                }
                _ => return Ok(()),
            };
            *place = whole_number(member.value).or(*place);
            Ok::<(), NotJsonError>(())
        });
        if read.is_ok() {
            *self = counts;
        }
    }

    fn read_details(&mut self, details: &str) {
        // `null` and other values have no details.
        let _ = each_member(details, |member| {
            if member.name == "cached_tokens" {
                self.cached = whole_number(member.value).or(self.cached);
            }
            Ok::<(), NotJsonError>(())
        });
    }

    /// Takes the `timings` of llama.cpp: `prompt_n` leaves out what came from the cache.
    fn read_timings(&mut self, timings: &str) {
        let mut read = None;
        let mut counts = Counts::default();
        let parsed = each_member(timings, |member| {
            match &*member.name {
                "prompt_n" => read = whole_number(member.value),
                "cache_n" => counts.cached = whole_number(member.value),
                "predicted_n" => counts.completion = whole_number(member.value),
                _ => {}
            }
            Ok::<(), NotJsonError>(())
        });
        if parsed.is_ok() {
            counts.prompt = read.map(|read| read.saturating_add(counts.cached.unwrap_or(0)));
            *self = counts;
        }
    }
}

fn count_items(list: &str) -> Result<u64, NotJsonError> {
    let mut count = 0;
    each_item(list, |_| {
        count += 1;
        Ok::<(), NotJsonError>(())
    })?;
    Ok(count)
}
