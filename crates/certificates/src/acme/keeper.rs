//! Keeps the certificates of an authority: does what the plan says is next, for ever.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier};

use super::account::account;
use super::challenge::Checks;
use super::failure::{Failure, FailureKind};
use super::http_client::{AuthorityClient, CaFileError};
use super::name::{DomainName, list};
use super::order::{Issued, OrderRequest, order, resume};
use super::plan::{FailedOrder, Plan, Step};
use super::present::{Present, read_stored};
use super::renewal::ask_renewal;
use super::storage::{Storage, StorageError};
use super::{AcmeConfig, AcmeDirectory};
use crate::resolver::{Certificates, Slot, Source};

/// The folder of all authorities, in the data directory.
const FOLDER: &str = "acme";
/// The longest time without a look at the clock, which may be set, or may have stood still with the
/// machine.
const LONGEST_NAP: Duration = Duration::from_secs(10 * 60);
/// The time for one try as a whole, so that an authority that hangs holds nothing up.
const TRY_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How often an order begins anew because nonces were refused. Pebble refuses a fifth on purpose, and
/// instant-acme repeats a request twice: of a hundred orders that is enough for all.
const NONCE_REPEATS: u32 = 3;

/// The reason why certificates cannot be kept at all.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The files cannot be used.
    #[error("the files of the authority: {0}")]
    Storage(#[from] StorageError),
    /// The certificates of the private authority cannot be used.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
}

/// The certificates of one authority: those that are there, and those that are to be had.
pub struct Acme {
    config: AcmeConfig,
    client: AuthorityClient,
    storage: Storage,
    certificates: Certificates,
    plan: Plan,
    /// What is in use, one for each certificate of the plan.
    present: Vec<Present>,
    /// The slots, by the names that each is for: those of certificates, and those of orders that had
    /// no success yet.
    slots: BTreeMap<String, Slot>,
    next_number: u64,
}

impl Acme {
    /// Takes the folder of the authority in the data directory, and presents the certificates in it.
    /// Nothing is ordered before [`Acme::run`].
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, or another process has the folder.
    pub fn open(
        config: AcmeConfig,
        data_dir: &Path,
        certificates: &Certificates,
    ) -> Result<Self, AcmeError> {
        let client = AuthorityClient::new(config.ca_file.as_deref())?;
        let folder = data_dir.join(FOLDER).join(config.directory.folder());
        let storage = Storage::open(&folder)?;
        let histories = storage.histories()?;

        let (present, held) = read_stored(&storage, SystemTime::now())?;
        let next_number = present.len() as u64;
        let mut acme = Self {
            plan: Plan::new(&config.names, histories, held),
            config,
            client,
            storage,
            certificates: certificates.clone(),
            present: Vec::new(),
            slots: BTreeMap::new(),
            next_number,
        };
        for present in present {
            acme.present(present);
        }
        acme.arrange();
        Ok(acme)
    }

    /// Returns the authority.
    pub fn directory(&self) -> &AcmeDirectory {
        &self.config.directory
    }

    /// Orders what is missing, and renews it in time. Never returns.
    ///
    /// Dropping it between an order and its certificate loses nothing: the order is stored.
    pub async fn run(mut self) {
        loop {
            let now = SystemTime::now();
            match self.plan.next(now) {
                Step::Wait(until) => {
                    let pause = until.duration_since(now).unwrap_or_default();
                    tokio::time::sleep(pause.min(LONGEST_NAP)).await;
                }
                Step::AskRenewal(number) => self.ask_renewal(number).await,
                Step::Order(names) => self.try_order(&names).await,
            }
        }
    }

    async fn ask_renewal(&mut self, number: u64) {
        let present = self.present.iter().find(|it| it.number == number);
        let id = present.and_then(|present| present.identifier.clone());
        let answer = match (id, self.account().await) {
            (Some(id), Ok(account)) => ask_renewal(&account, &id).await,
            (_, Err(failure)) => Err(failure),
            (None, _) => Ok(None),
        };
        let answer = answer.unwrap_or_else(|error| {
            tracing::debug!(%error, "the authority did not say when to renew");
            None
        });
        self.plan.ask_again(number, answer, SystemTime::now());
    }

    async fn try_order(&mut self, names: &[DomainName]) {
        let started = SystemTime::now();
        self.plan.begin(names, started);
        // A try that cannot be remembered is none: a restart would make it again, past every limit.
        let stored = self.storage.write_histories(self.plan.histories()).await;
        let result = match stored {
            Ok(()) => self.attempt(names).await,
            Err(error) => Err(Failure::of(error)),
        };

        let now = SystemTime::now();
        match result {
            Ok((issued, present)) => {
                let took = now.duration_since(started).unwrap_or_default();
                self.receive(&issued, present, took).await;
            }
            Err(failure) => {
                let retry_at = self.client.take_retry_at();
                self.fail(names, failure.with_pause(retry_at, now), now)
                    .await;
            }
        }
        if let Err(error) = self.storage.write_histories(self.plan.histories()).await {
            tracing::error!(%error, "the tries of certificates cannot be stored");
        }
    }

    /// Makes one try, and checks what came of it.
    async fn attempt(&mut self, names: &[DomainName]) -> Result<(Issued, Present), Failure> {
        self.client.take_retry_at();
        let issued = tokio::time::timeout(TRY_TIMEOUT, self.obtain_in_spite_of_nonces(names)).await;
        let issued = issued.unwrap_or_else(|_| {
            Err(Failure {
                kind: FailureKind::NoAnswer,
                ..Failure::of("the authority took longer than 10 minutes")
            })
        })?;

        let present = Present::of(&issued, self.next_number, SystemTime::now())?;
        Ok((issued, present))
    }

    /// Obtains a certificate, and begins anew where nonces were refused more often than instant-acme
    /// repeats a request. That is no fault of the order, and no reason for a pause.
    async fn obtain_in_spite_of_nonces(&mut self, names: &[DomainName]) -> Result<Issued, Failure> {
        let mut issued = self.obtain(names).await;
        for _ in 0..NONCE_REPEATS {
            match &issued {
                Err(failure) if failure.kind == FailureKind::BadNonce => {}
                _ => break,
            }
            tracing::debug!("nonces were refused: the order begins anew");
            issued = self.obtain(names).await;
        }
        issued
    }

    async fn obtain(&mut self, names: &[DomainName]) -> Result<Issued, Failure> {
        let account = self.account().await?;
        if let Some(stored) = self.storage.order().map_err(Failure::of)? {
            let is_wanted = stored.names.iter().eq(names.iter().map(DomainName::as_str));
            if is_wanted && let Some(issued) = resume(&account, stored).await? {
                tracing::info!(names = list(names), "the order of the last run is finished");
                return Ok(issued);
            }
            self.storage.remove_order().await.map_err(Failure::of)?;
        }

        let failures = names.iter();
        let failures = failures.map(|name| (name.clone(), self.plan.own_failures(name)));
        let request = OrderRequest {
            names,
            profile: self.config.profile.as_deref(),
            replaces: self.replaced_by(names),
            checks: Checks {
                kinds: self.config.checks.clone(),
                failures: failures.collect(),
            },
        };
        order(&account, request, &self.certificates, &self.storage).await
    }

    /// Returns the certificate that one for these names replaces, where the authority manages renewals.
    fn replaced_by(&self, names: &[DomainName]) -> Option<CertificateIdentifier<'static>> {
        let held = names
            .iter()
            .find_map(|name| self.plan.certificate_of(name))?;
        held.window?;
        let present = self.present.iter().find(|it| it.number == held.number)?;
        present.identifier.clone().filter(|_| !present.is_replaced)
    }

    /// Returns the account, with the authority's directory as it is now: a server runs for longer than
    /// a directory is sure to stay.
    async fn account(&self) -> Result<Account, Failure> {
        account(&self.config, &self.client, &self.storage).await
    }

    /// Stores a new certificate, and presents it.
    async fn receive(&mut self, issued: &Issued, mut present: Present, took: Duration) {
        let stored = self
            .storage
            .write_certificate(&issued.names, issued.to_pem());
        match stored.await {
            Ok(file) => {
                present.file = Some(file);
                if let Err(error) = self.storage.remove_order().await {
                    tracing::warn!(%error, "a finished order cannot be removed");
                }
            }
            // The order stays, so that the next run finds the certificate by it.
            Err(error) => tracing::error!(
                %error,
                "a new certificate is presented, but cannot be stored"
            ),
        }

        self.next_number += 1;
        self.warn_of_clock(&present);
        let held = present.held(&issued.names);
        let renewal = held.life.renew_at(None);
        self.plan.obtain(held);
        self.present(present);
        self.arrange();
        // Only now, when handshakes get it.
        tracing::info!(
            names = issued.label(),
            ?took,
            renewal_in = ?until(renewal),
            people = %format_args!("● certificate  obtained for {}", issued.label()),
            "a certificate was obtained"
        );
        self.remove_superseded().await;
    }

    fn warn_of_clock(&self, present: &Present) {
        if !present.life.contradicts_clock() {
            return;
        }
        let clocks = self.client.clocks();
        let ahead = clocks.and_then(|(theirs, ours)| ours.duration_since(theirs).ok());
        let behind = clocks.and_then(|(theirs, ours)| theirs.duration_since(ours).ok());
        tracing::warn!(
            ahead_seconds = ahead.map(|ahead| ahead.as_secs()),
            behind_seconds = behind.map(|behind| behind.as_secs()),
            "by the clock of this machine the new certificate is not valid: set the clock"
        );
    }

    async fn fail(&mut self, names: &[DomainName], failure: Failure, now: SystemTime) {
        let failed = FailedOrder {
            by: failure.by.clone(),
            not_before: failure.not_before,
        };
        self.plan.fail(names, &failed, now);
        self.learn(names, &failure).await;
        self.arrange();

        let blamed = if failure.by.is_empty() {
            names
        } else {
            &failure.by
        };
        for name in blamed {
            if let Some(slot) = self.slot_of(name) {
                slot.report_failure(&failure, now);
            }
        }
        let next = self.plan.next_order();
        let next = next.map_or(Duration::ZERO, |(at, _)| until(at));
        tracing::warn!(
            names = list(names),
            error = %failure,
            next_try_in = ?next,
            "no certificate could be obtained"
        );
    }

    /// Does what a failure asks for, beside another try.
    async fn learn(&mut self, names: &[DomainName], failure: &Failure) {
        let result = match failure.kind {
            FailureKind::NoAccount => self.storage.remove_account().await,
            FailureKind::AlreadyReplaced => {
                let held = names.iter().find_map(|name| self.plan.certificate_of(name));
                let number = held.map(|held| held.number);
                let mut present = self.present.iter_mut();
                if let Some(present) = present.find(|it| Some(it.number) == number) {
                    present.is_replaced = true;
                }
                Ok(())
            }
            // The stored order may have its certificate by now.
            FailureKind::NoAnswer => Ok(()),
            FailureKind::RateLimited | FailureKind::BadNonce | FailureKind::Other => {
                self.storage.remove_order().await
            }
        };
        if let Err(error) = result {
            tracing::warn!(%error, "a file that is of no use any more cannot be removed");
        }
    }

    /// Presents a certificate, in the place of one for the same names.
    fn present(&mut self, present: Present) {
        let slot = self.slots.entry(present.label.clone());
        let label = present.label.clone();
        let slot = slot.or_insert_with(|| self.certificates.slot(Source::Acme, label));
        slot.publish(present.certificate.clone());
        self.present.push(present);
    }

    /// Has a slot for every order that had no success yet, and none for certificates of the past.
    fn arrange(&mut self) {
        let held: Vec<u64> = self.plan.held().iter().map(|held| held.number).collect();
        let is_held = |present: &Present| held.contains(&present.number);
        let labels = self.present.iter().filter(|present| is_held(present));
        let mut labels: Vec<String> = labels.map(|present| present.label.clone()).collect();

        for names in self.plan.groups() {
            let is_missing = |name| self.plan.certificate_of(name).is_none();
            if names.iter().any(is_missing) {
                let label = list(&names);
                let slot = self.slots.entry(label.clone());
                slot.or_insert_with(|| self.certificates.slot(Source::Acme, label.clone()));
                labels.push(label);
            }
        }
        self.slots.retain(|label, _| labels.contains(label));
    }

    /// Returns the slot that shows what happens to a name.
    fn slot_of(&self, name: &DomainName) -> Option<&Slot> {
        let held = self.plan.certificate_of(name);
        let present = held.and_then(|held| self.present.iter().find(|it| it.number == held.number));
        if let Some(present) = present {
            return self.slots.get(&present.label);
        }
        let groups = self.plan.groups();
        let group = groups.iter().find(|names| names.contains(name))?;
        self.slots.get(&list(group))
    }

    /// Forgets the certificates that are in use no more, and removes their files.
    async fn remove_superseded(&mut self) {
        let held: Vec<u64> = self.plan.held().iter().map(|held| held.number).collect();
        let all = std::mem::take(&mut self.present);
        let (kept, gone): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|present| held.contains(&present.number));
        self.present = kept;
        // Of a certificate that could not be stored, the predecessor is the one of the next start.
        if self.present.iter().any(|present| present.file.is_none()) {
            return;
        }

        for file in gone.into_iter().filter_map(|present| present.file) {
            let is_used = self
                .present
                .iter()
                .any(|it| it.file.as_ref() == Some(&file));
            if is_used {
                continue;
            }
            if let Err(error) = self.storage.remove(file).await {
                tracing::warn!(%error, "the file of an old certificate cannot be removed");
            }
        }
    }
}

fn until(at: SystemTime) -> Duration {
    let duration = at.duration_since(SystemTime::now()).unwrap_or_default();
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests;
