//! The doctor of a relay, `mcp` or `worker`: what its start would meet, from the settings to a call
//! through the public URL.

mod asking;
mod clock;
mod metronome;
mod program;
mod provider;
mod public;
mod runtime;
mod trial;
mod way;

use std::sync::Arc;
use std::time::Instant;

use llamapool_relay::{ProviderKind, Relay, RelayConfig, ServerProbe, StatusBind};
use llamapool_wire::RelayId;

use self::asking::{Asked, TrialId};
use self::metronome::Metronome;
use self::program::TestedProgram;
use self::trial::Trial;
use super::check::{
    CONNECTED, Check, GENERATION, HTTPS, MCP_ANSWER, MODELS, OAUTH, OUTPUT, PROGRAM, PROVIDER,
    RELAY_START, ROUND_TRIP, RUNTIME, SILENCE, STARTED, STREAMING,
};
use super::examination::Examination;
use super::recorder::Recorder;
use super::role::Options;

/// The doctor of a relay.
pub(super) struct Doctor<'a> {
    pub(super) config: RelayConfig,
    /// Whether the runtime of a worker is looked for on this machine.
    pub(super) finds_runtime: bool,
    pub(super) options: &'a Options,
    pub(super) recorder: &'a Recorder,
    pub(super) examination: &'a mut Examination,
    /// The checks that this configuration has no use for.
    pub(super) not_for: &'a mut Vec<&'static Check>,
}

/// What calls need to know of a provider.
struct Prepared {
    /// The name of the provider, where there are several.
    label: Option<String>,
    place: usize,
    /// The program, if it is one; an HTTP provider is reached by the relay itself.
    program: Option<TestedProgram>,
}

impl Doctor<'_> {
    /// Makes the checks.
    pub(super) async fn look(mut self) -> anyhow::Result<()> {
        let has_start = self.start().await;
        self.examination.now("the provider");
        let prepared = self.providers().await;
        self.examination.now("the server");
        if has_start && let Ok(probe) = ServerProbe::new(&self.config) {
            self.server(Arc::new(probe), &prepared).await;
        }
        for provider in prepared {
            if let Some(program) = provider.program {
                program.end().await;
            }
        }
        self.leave_out();
        Ok(())
    }

    /// Does what a relay does before it dials.
    async fn start(&mut self) -> bool {
        let remedy = "The start would end here, with the same error.";
        let looked = match Relay::bind(self.config.clone()).await {
            Err(error) => RELAY_START.fail(error.to_string(), remedy),
            Ok(relay) => match (relay.status_address(), self.config.status.bind) {
                (None, StatusBind::Default(address)) => RELAY_START.warn(
                    format!("{address}, the default of STATUS_ADDR, is taken: there would be no status server"),
                    "Another relay may run here. Set STATUS_ADDR to another port, or to off.",
                ),
                (None, _) => RELAY_START.ok("the relay can be prepared, without a status server"),
                (Some(address), _) => {
                    RELAY_START.ok(format!("the relay can be prepared, with its status at {address}"))
                }
            },
        };
        self.examination.add(looked)
    }

    /// Looks at the providers without the server. Programs are started here, once.
    async fn providers(&mut self) -> Vec<Prepared> {
        let providers = self.config.providers.clone();
        let several = providers.len() > 1;
        let mut prepared = Vec::new();
        for (place, provider) in providers.iter().enumerate() {
            let label = provider.id.as_ref().map(RelayId::to_string);
            let label = label.unwrap_or_else(|| format!("#{}", place + 1));
            let label = several.then_some(label);
            let name = label.as_deref();
            let mut program = None;
            let goes_on = match &provider.kind {
                ProviderKind::Stdio(bridge) => {
                    program =
                        TestedProgram::start(bridge, name, self.recorder, self.examination).await;
                    program.is_some()
                }
                ProviderKind::Http(http) => {
                    let ca_file = self.config.dial.ca_file.as_deref();
                    provider::look(http, ca_file, name, self.examination).await
                }
                ProviderKind::Llm(llm) => {
                    let ca_file = self.config.dial.ca_file.as_deref();
                    let looking = runtime::Look {
                        config: llm,
                        is_searched: self.finds_runtime,
                        generates: self.options.generates,
                        ca_file,
                        label: name,
                    };
                    looking.look(self.examination).await;
                    false
                }
            };
            if goes_on {
                prepared.push(Prepared {
                    label,
                    place,
                    program,
                });
            }
        }
        prepared
    }

    /// Looks at the server, and at calls through it.
    async fn server(&mut self, probe: Arc<ServerProbe>, prepared: &[Prepared]) {
        if !way::look(&probe, self.examination).await {
            return;
        }
        let Some(asked) = asking::look(&probe, &self.config, self.examination).await else {
            return;
        };
        let Some(trial_id) = asked.trial.clone() else {
            self.examination.add(
                CONNECTED
                    .skipped("not tried: the key serves no other id than those that are taken"),
            );
            return;
        };
        let client = public::client(&probe, &asked, self.examination).await;
        if !self.first_trial(&trial_id, &client).await {
            return;
        }
        if self.config.providers.iter().any(is_llm) {
            return;
        }
        public::clients(&client, &asked, &trial_id.id, self.examination).await;
        for provider in prepared {
            self.round_trip(&asked, provider, &client).await;
        }
    }

    /// Connects a relay with a provider of the doctor's own, and looks at streams and silence.
    async fn first_trial(&mut self, trial_id: &TrialId, client: &public::PublicClient) -> bool {
        let is_worker = self.config.providers.iter().any(is_llm);
        let metronome = match Metronome::start().await {
            Ok(metronome) => metronome,
            Err(error) => {
                let remedy = "A free port on 127.0.0.1 is needed for the time of the check.";
                return self
                    .examination
                    .add(CONNECTED.fail(error.to_string(), remedy));
            }
        };
        let provider = metronome.provider(&self.config, is_worker);
        let begun = Instant::now();
        let trial = match Trial::start(&self.config, trial_id, provider).await {
            Ok(trial) => trial,
            Err(error) => {
                let remedy = "The relay would meet the same.";
                return self.examination.add(CONNECTED.fail(error, remedy));
            }
        };
        let kind = if trial_id.is_temporary {
            "under a temporary id"
        } else {
            "under its own id, as the key serves no other"
        };
        let found = format!("a relay connects, {kind}");
        self.examination
            .add(CONNECTED.ok(found).within(begun.elapsed()));

        if !is_worker {
            public::streaming(client, &trial.id, self.options, self.examination).await;
        }
        if self.options.is_quick {
            self.examination.add(SILENCE.skipped("left out by --quick"));
        } else {
            self.examination
                .now("a call waits for 30 s in silence; --quick leaves it out");
            public::silence(client, &trial, is_worker, self.options, self.examination).await;
        }
        trial.end().await;
        true
    }

    /// Connects a relay with a provider, and calls it through the public URL.
    async fn round_trip(
        &mut self,
        asked: &Asked,
        prepared: &Prepared,
        client: &public::PublicClient,
    ) {
        let Some(id) = asked.next_id() else {
            return;
        };
        let mut provider = self.config.providers[prepared.place].clone();
        if let Some(program) = &prepared.program {
            // The program that was started above is called, and not a second one.
            provider.kind = program.as_provider();
        }
        let credential = provider.auth_token.clone().or(self.options.key.clone());
        let trial = match Trial::start(&self.config, &id, provider).await {
            Ok(trial) => trial,
            Err(error) => {
                let looked = ROUND_TRIP.fail(error, "The relay would meet the same.");
                self.examination.add(looked.of(prepared.label.as_deref()));
                return;
            }
        };
        let call = public::RoundTrip {
            client,
            id: &trial.id,
            credential: credential.as_ref(),
            program: prepared.program.as_ref(),
            label: prepared.label.as_deref(),
        };
        call.look(self.examination).await;
        trial.end().await;
    }

    /// Leaves out the checks of other kinds of providers.
    fn leave_out(&mut self) {
        let kinds = self.config.providers.iter().map(|provider| &provider.kind);
        let mut has_program = false;
        let mut has_http = false;
        let mut has_runtime = false;
        for kind in kinds {
            match kind {
                ProviderKind::Stdio(_) => has_program = true,
                ProviderKind::Http(_) => has_http = true,
                ProviderKind::Llm(_) => has_runtime = true,
            }
        }
        if !has_program {
            self.not_for.extend([&PROGRAM, &STARTED, &OUTPUT]);
        }
        if !has_http {
            self.not_for.push(&PROVIDER);
        }
        if has_runtime {
            self.not_for
                .extend([&MCP_ANSWER, &ROUND_TRIP, &STREAMING, &HTTPS, &OAUTH]);
        } else {
            self.not_for.extend([&RUNTIME, &MODELS, &GENERATION]);
        }
    }
}

fn is_llm(provider: &llamapool_relay::ProviderConfig) -> bool {
    matches!(provider.kind, ProviderKind::Llm(_))
}
