//! What calls have taught about a runtime, remembered for ten minutes: APIs that it lacks, streams
//! that it refuses or does not end as its dialect ends them, options that it refuses.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a lesson holds. Runtimes are updated and restarted with other options.
const LESSON: Duration = Duration::from_secs(600);
/// The most lessons: there are some kinds for each of some ten APIs and 512 models.
const MAX_LESSONS: usize = 4096;

/// A lesson about an API, and about one model where it depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lesson {
    /// The runtime has no such API.
    Lacks,
    /// Answers must not be asked for as a stream if the caller wants them whole.
    AsAsked,
    /// It refuses `stream_options`.
    NoStreamOptions,
}

impl Lesson {
    /// Returns the word for the lesson in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Lacks => "no_such_api",
            Self::AsAsked => "streams_only_as_asked",
            Self::NoStreamOptions => "no_stream_options",
        }
    }
}

/// The lessons about one runtime.
#[derive(Default)]
pub(super) struct Learned(Mutex<Lessons>);

#[derive(Default)]
struct Lessons {
    until: HashMap<(Lesson, String, String), Instant>,
    worked: HashMap<(String, String), ()>,
}

impl Learned {
    /// Notes a lesson about an API and a model. Returns whether it is news.
    pub(super) fn note(&self, lesson: Lesson, api: &str, model: &str) -> bool {
        let mut lessons = self.0.lock();
        let now = Instant::now();
        if lessons.until.len() >= MAX_LESSONS {
            lessons.until.retain(|_, until| *until > now);
            if lessons.until.len() >= MAX_LESSONS {
                return false;
            }
        }
        let key = (lesson, api.to_owned(), model.to_owned());
        let before = lessons.until.insert(key, now + LESSON);
        before.is_none_or(|until| until <= now)
    }

    /// Returns whether a lesson about an API and a model holds.
    pub(super) fn holds(&self, lesson: Lesson, api: &str, model: &str) -> bool {
        let lessons = self.0.lock();
        if lessons.until.is_empty() {
            return false;
        }
        let key = (lesson, api.to_owned(), model.to_owned());
        let until = lessons.until.get(&key);
        until.is_some_and(|until| *until > Instant::now())
    }

    /// Notes that a call of an API with a model went well.
    pub(super) fn worked(&self, api: &str, model: &str) {
        let mut lessons = self.0.lock();
        if lessons.worked.len() < MAX_LESSONS {
            lessons
                .worked
                .insert((api.to_owned(), model.to_owned()), ());
        }
    }

    /// Returns whether a call of an API with a model ever went well.
    pub(super) fn has_worked(&self, api: &str, model: &str) -> bool {
        let key = (api.to_owned(), model.to_owned());
        self.0.lock().worked.contains_key(&key)
    }

    /// Forgets everything: another program may answer from now on.
    pub(super) fn forget(&self) {
        *self.0.lock() = Lessons::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lesson_holds_for_ten_minutes() {
        let learned = Learned::default();

        assert!(learned.note(Lesson::Lacks, "rerank", "m"));
        assert!(!learned.note(Lesson::Lacks, "rerank", "m"));
        assert!(learned.holds(Lesson::Lacks, "rerank", "m"));
        assert!(!learned.holds(Lesson::Lacks, "rerank", "other"));
        assert!(!learned.holds(Lesson::AsAsked, "rerank", "m"));

        tokio::time::advance(LESSON).await;
        assert!(!learned.holds(Lesson::Lacks, "rerank", "m"));

        learned.worked("chat", "m");
        assert!(learned.has_worked("chat", "m"));
        learned.forget();
        assert!(!learned.has_worked("chat", "m"));
    }
}
