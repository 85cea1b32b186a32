//! What the server configures: the pool, each key, each worker.

/// One second in the pool's unit of time.
pub(crate) const SECOND: u64 = 1_000_000;
/// The weight of a key or worker that has no weight of its own.
const NORMAL_WEIGHT: u32 = 1000;

/// The settings of a pool. All times are microseconds.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// The most calls that wait, over all models; 0 for no queue.
    pub queue_size: usize,
    /// The longest wait of a call.
    pub queue_timeout: u64,
    /// The wait after which the front call of a line rises by one class; 0 for never.
    pub ageing: u64,
    /// The longest wait for a worker with the model loaded, while another one could load it.
    pub max_wait_for_warm: u64,
    /// How long calls wait for a model whose workers are all away. 0 refuses them at once.
    pub max_wait_for_worker: u64,
    /// The most prefixes that are remembered, each of 48 bytes.
    pub affinity_entries: usize,
    /// Whether prefixes are remembered for each key by itself, so that no key learns from timing what
    /// another one asked.
    pub affinity_by_key: bool,
    /// Whether another quantization stands in for a model that no worker has.
    pub alias_fallback: bool,
    /// The seed of all random choices.
    pub seed: u64,
}

/// The class of a call or key. Higher classes go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Class {
    /// Work that may wait.
    Low,
    /// Everything else.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// The settings of a key.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// The name, for lists.
    pub name: String,
    /// Share of slot time, in thousandths: 2000 gets twice the time of 1000. At least 1.
    pub weight: u32,
    /// The class of its calls, which a call may lower.
    pub class: Class,
    /// The most calls that hold slots at once, `None` for any number.
    pub max_concurrency: Option<usize>,
    /// The most calls that wait at once, `None` for any number within the pool's.
    pub max_waiting: Option<usize>,
    /// Patterns of models that it may use, with `*` for any text; `!` before one excludes. Empty for all.
    pub models: Vec<String>,
}

/// What is fixed for a worker while it is connected.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The name, for lists.
    pub name: String,
    /// The kind of runtime, such as `ollama`.
    pub runtime: String,
    /// The most concurrent calls.
    pub slots: u32,
    /// Divides its expected times, in thousandths: 2000 makes it look twice as fast.
    pub weight: u32,
    /// Whether the runtime keeps responses that later calls refer to.
    pub keeps_responses: bool,
}

/// Whether a worker takes new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Availability {
    /// It takes calls.
    #[default]
    Ready,
    /// Its runtime did not answer: it gets calls only where no other worker could.
    Unreachable,
    /// It finishes what runs.
    Draining,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            queue_size: 1000,
            queue_timeout: 600 * SECOND,
            ageing: 30 * SECOND,
            max_wait_for_warm: 30 * SECOND,
            max_wait_for_worker: 10 * SECOND,
            affinity_entries: 262_144,
            affinity_by_key: false,
            alias_fallback: true,
            seed: 0,
        }
    }
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            weight: NORMAL_WEIGHT,
            class: Class::Normal,
            max_concurrency: None,
            max_waiting: None,
            models: Vec::new(),
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            runtime: String::new(),
            slots: 1,
            weight: NORMAL_WEIGHT,
            keeps_responses: false,
        }
    }
}

impl Class {
    /// Returns the word of settings and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    /// Parses the word, `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Low, Self::Normal, Self::High]
            .into_iter()
            .find(|class| class.as_str() == text)
    }

    /// Returns the class above, and of the highest itself.
    pub(crate) fn raised(self) -> Self {
        match self {
            Self::Low => Self::Normal,
            Self::Normal | Self::High => Self::High,
        }
    }
}
