//! The way of a client, step by step. It ends at the first step that a client would not get through.

use super::call;
use super::command::Options;
use super::https::{Client, Way};
use super::network;
use super::plain;
use super::report::{Finding, Report};
use super::sign_in::{Challenge, SignIn};
use super::tls::Authorities;

/// A walk, and what it finds.
pub(super) struct Walk<'a> {
    options: Options,
    report: &'a mut Report,
}

impl<'a> Walk<'a> {
    pub(super) fn new(options: Options, report: &'a mut Report) -> Self {
        Self { options, report }
    }

    /// Goes as far as it leads.
    ///
    /// # Errors
    ///
    /// If it cannot begin.
    pub(super) async fn go(mut self) -> anyhow::Result<()> {
        let authorities = Authorities::new(self.options.ca_file.as_deref())?;
        let Some(client) = self.reached(&authorities).await else {
            return Ok(());
        };
        if let Some(port) = self.options.http_port {
            let plain_client = client.plain_on(port, self.options.origin.host());
            let finding = plain::looked_at(&plain_client, port, &self.options.origin).await;
            self.report.add(finding);
        }

        let health = call::health(&client, &self.path("/readyz")).await;
        if !self.report.add(health) {
            return Ok(());
        }
        let path = self.path(&format!(
            "{}{}",
            llamapool_wire::path::MCP_BY_ID,
            self.options.id
        ));
        let goes_on = self.signed_in(&client, &path).await;
        if let Some(key) = self.options.key.as_ref().filter(|_| goes_on) {
            for finding in call::with_key(&client, &path, key).await {
                self.report.add(finding);
            }
        }
        Ok(())
    }

    /// Finds the server, and how to speak with it.
    async fn reached(&mut self, authorities: &Authorities) -> Option<Client> {
        let options = &self.options;
        let origin = &options.origin;
        let within = options.timeout;
        let (addresses, finding) = network::addresses(origin, within).await;
        if !self.report.add(finding) {
            return None;
        }
        let (address, finding) = network::dialled(origin, &addresses, within).await;
        self.report.add(finding);
        let address = address?;

        let mut tls = None;
        if origin.is_tls() {
            let (connector, finding) = authorities.checked(address, origin.host(), within).await;
            self.report.add(finding);
            tls = Some(connector?);
        } else {
            let found = "the URL has no TLS: keys and tokens go in the clear";
            let remedy = "Clients such as Claude want https: ACME_DOMAINS gets a certificate, or put a \
                          reverse proxy in front.";
            let finding = if origin.is_loopback() {
                Finding::warn("tls", found, remedy)
            } else {
                Finding::fail("tls", found, remedy)
            };
            if !self.report.add(finding) {
                return None;
            }
        }
        Some(Client {
            way: Way::Direct { address, tls },
            authority: origin.authority(),
            timeout: within,
        })
    }

    /// Goes the way to the page of sign-in. Returns whether calls can be tried behind it.
    async fn signed_in(&mut self, client: &Client, path: &str) -> bool {
        let url = self.options.url();
        let walk = SignIn {
            client,
            origin: &self.options.origin,
            url: &url,
        };
        let (challenge, finding) = walk.challenge(path).await;
        if !self.report.add(finding) {
            return false;
        }
        let Challenge::Metadata(metadata) = challenge else {
            return challenge != Challenge::Broken;
        };
        let (issuer, finding) = walk.resource(&metadata).await;
        let goes_on = self.report.add(finding);
        let Some(issuer) = issuer else {
            return goes_on;
        };
        let (document, finding) = walk.metadata(&issuer).await;
        let goes_on = self.report.add(finding);
        let Some(document) = document else {
            return goes_on;
        };
        let clients = walk.clients(&document).await;
        self.report.add(clients);
        let cors = walk.cors(&metadata, &document).await;
        self.report.add(cors);
        let page = walk.page(&document).await;
        self.report.add(page)
    }

    /// Returns the path of the server's own path, below that of its public URL.
    fn path(&self, path: &str) -> String {
        let url = self.options.origin.url(path);
        let below = self.options.origin.below(&url);
        below.unwrap_or(path).to_owned()
    }
}
