//! Carries the planned faults out.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fault::{EdgeName, Fault, PlannedFault, Victim};
use crate::history::{Millis, Stop};
use crate::process::{self, LogDisk};
use crate::site::{Site, Slot};

/// Connections of the outsider that holds idle ones.
const IDLE_CONNECTIONS: usize = 200;

/// The faults of a window as they were carried out.
#[derive(Default)]
pub(crate) struct Injected {
    /// The ends of processes.
    pub(crate) stops: Vec<Stop>,
    /// The labels of the faults.
    pub(crate) labels: Vec<String>,
    /// Processes that did not end after `SIGTERM`.
    pub(crate) stuck: Vec<String>,
    /// Faults that could not be carried out.
    pub(crate) failures: Vec<String>,
}

/// The injector of one window.
#[derive(Clone)]
struct Injector {
    site: Arc<Site>,
    /// The start of the run, from which times are counted.
    epoch: Instant,
    injected: Arc<Mutex<Injected>>,
}

/// Carries faults out, each at its time after `start`, and returns when the last one is over.
pub(crate) async fn inject(
    site: Arc<Site>,
    epoch: Instant,
    start: Instant,
    faults: Vec<PlannedFault>,
) -> Injected {
    let injector = Injector {
        site,
        epoch,
        injected: Arc::default(),
    };
    let mut running = JoinSet::new();
    for PlannedFault { at, fault } in faults {
        let injector = injector.clone();
        running.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            if let Err(error) = injector.carry_out(fault).await {
                let failure = format!("{}: {error:#}", fault.label());
                injector.injected.lock().failures.push(failure);
            }
        });
    }
    running.join_all().await;
    std::mem::take(&mut *injector.injected.lock())
}

impl Injector {
    /// Carries one fault out, until it is over.
    async fn carry_out(&self, fault: Fault) -> anyhow::Result<()> {
        self.injected.lock().labels.push(fault.label());
        match fault {
            Fault::Kill(victim, pause) => {
                let Some(mut slot) = self.site.free_slot(victim) else {
                    return Ok(());
                };
                if let Some(process) = &mut slot.process {
                    process.kill().await;
                }
                self.stopped(victim.name());
                tokio::time::sleep(pause).await;
                self.site.launch(victim, &mut slot, LogDisk::Free)?;
            }
            Fault::Terminate(victim) => self.restart(victim, LogDisk::Free).await?,
            Fault::FullDisk(victim) => self.restart(victim, LogDisk::Full).await?,
            Fault::Pause(victim, lasting) => {
                let slot = self.site.free_slot(victim);
                if let Some(process) = slot.as_ref().and_then(|it| it.process.as_ref()) {
                    process.pause();
                    tokio::time::sleep(lasting).await;
                    process.resume();
                }
            }
            Fault::Descriptors(victim, lasting) => {
                let slot = self.site.free_slot(victim);
                if let Some(process) = slot.as_ref().and_then(|it| it.process.as_ref())
                    && let Some(before) = process.exhaust_descriptors()
                {
                    tokio::time::sleep(lasting).await;
                    process.restore_descriptors(before);
                }
            }
            Fault::KillProgram => self.kill_program(),
            Fault::Outsider(lasting) => self.hold_connections(lasting).await,
            Fault::Clock(victim, offset, lasting) => {
                if let Some(clock) = self.site.clock(victim) {
                    clock.set(offset);
                    tokio::time::sleep(lasting).await;
                    clock.set(0);
                }
            }
            Fault::Edge(name, traffic, direction, lasting) => {
                let edge = self.site.edge(name);
                edge.treat(direction, traffic);
                tokio::time::sleep(lasting).await;
                edge.heal();
            }
            Fault::Cut(name) => self.site.edge(name).cut(),
            Fault::Refuse(name, lasting) => {
                let edge = self.site.edge(name);
                edge.refuse();
                tokio::time::sleep(lasting).await;
                edge.heal();
            }
        }
        Ok(())
    }

    async fn restart(&self, victim: Victim, disk: LogDisk) -> anyhow::Result<()> {
        let Some(mut slot) = self.site.free_slot(victim) else {
            return Ok(());
        };
        self.stopped(victim.name());
        if let Slot {
            process: Some(process),
            ..
        } = &mut *slot
            && !process.terminate().await
        {
            let name = victim.name().to_owned();
            self.injected.lock().stuck.push(name);
        }
        self.stopped(victim.name());
        self.site.launch(victim, &mut slot, disk)
    }

    /// Kills one of the programs, at random: which ones run is not decided by the seed.
    fn kill_program(&self) {
        let programs = programs(&self.site);
        if programs.is_empty() {
            return;
        }
        let chosen = rand::rng().random_range(0..programs.len());
        self.stopped("program-stdio-modern");
        process::kill(programs[chosen]);
    }

    async fn hold_connections(&self, lasting: Duration) {
        let address = (Ipv4Addr::LOCALHOST, self.site.server_port());
        let mut held = Vec::new();
        for _ in 0..IDLE_CONNECTIONS {
            let connected = tokio::time::timeout(lasting, TcpStream::connect(address)).await;
            held.extend(connected.ok().and_then(Result::ok));
        }
        tokio::time::sleep(lasting).await;
    }

    fn stopped(&self, process: &str) {
        let at = self.epoch.elapsed().as_millis();
        let stop = Stop {
            process: process.to_owned(),
            at: Millis::try_from(at).unwrap_or(Millis::MAX),
        };
        self.injected.lock().stops.push(stop);
    }
}

/// Returns the programs that run: not their guards, which have the same words and more.
pub(crate) fn programs(site: &Site) -> Vec<rustix::process::Pid> {
    let journal = site.journal().display().to_string();
    let all = process::with_argument(&journal);
    let is_program = |pid: &rustix::process::Pid| {
        let id = pid.as_raw_nonzero();
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"program")
    };
    all.into_iter().filter(is_program).collect()
}

/// Heals every edge, for a window that was cut short.
pub(crate) fn heal(site: &Site) {
    for name in EdgeName::ALL {
        site.edge(name).heal();
    }
}
