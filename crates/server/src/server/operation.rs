//! The listeners for those who operate the server: the metrics and the administration API, where they
//! have an address of their own.

use std::sync::Arc;

use llamapool_http::listen::Listener;
use llamapool_identity::{AdminRight, Records};
use tokio::task::JoinSet;

use super::SharedParts;
use crate::auth::{AccessControl, Auth, AuthConfig, Keys, OriginPolicy};
use crate::config::ServerConfig;
use crate::doors::admin_api::AdminDoor;
use crate::identity::{Identity, IdentityConfig};
use crate::listen::AdminListen;
use crate::routes::Routes;

impl SharedParts {
    /// Serves the listeners of the metrics and of the administration API, where they are.
    pub(super) fn serve_operators(
        &self,
        config: &ServerConfig,
        [metrics, admin]: [Option<Listener>; 2],
        listeners: &mut JoinSet<()>,
    ) {
        if let Some(listener) = metrics {
            let routes = self.metrics_routes(config);
            listeners.spawn(listener.serve(routes, self.farewell.clone()));
        }
        if let Some(listener) = admin {
            let routes = self.admin_routes(config);
            listeners.spawn(listener.serve(routes, self.farewell.clone()));
        }
    }

    /// On a port of their own the metrics need no key, and are asked for by another name than the
    /// public one.
    fn metrics_routes(&self, config: &ServerConfig) -> Routes {
        let ip = config.listen.bind.ip();
        let policy = OriginPolicy::new(&AuthConfig::default(), None, ip);
        let access = AccessControl {
            auth: Arc::new(Auth::new(
                &Keys::default(),
                Identity::new(IdentityConfig::default(), Records::default()),
                policy,
                self.public_url.clone(),
            )),
            metrics: self.counters.clone(),
            right: AdminRight::Metrics,
        };
        Routes::metrics(
            self.metrics_api(access, config),
            self.health_api(),
            self.counters.clone(),
        )
    }

    /// On an address of its own the administration API is asked for by another name than the public one.
    /// It has the same keys.
    fn admin_routes(&self, config: &ServerConfig) -> Routes {
        let ip = match config.listen.admin {
            AdminListen::At(address) => address.ip(),
            AdminListen::WithCallers | AdminListen::Off => config.listen.bind.ip(),
        };
        let policy = OriginPolicy::new(&AuthConfig::default(), None, ip);
        let auth = Auth::new(
            &config.auth.keys,
            self.known.identity.clone(),
            policy,
            self.public_url.clone(),
        )
        .with_audit(self.known.audit.clone());
        Routes::admin(
            self.admin_door(Arc::new(auth)),
            self.health_api(),
            self.counters.clone(),
        )
    }

    pub(super) fn admin_door(&self, auth: Arc<Auth>) -> Arc<AdminDoor> {
        Arc::new(AdminDoor {
            auth,
            identity: self.known.identity.clone(),
            writer: self.known.has_store.then(|| self.known.writer.clone()),
            directory: self.directory.clone(),
            memory: self.memory.clone(),
            metrics: self.counters.clone(),
        })
    }
}
