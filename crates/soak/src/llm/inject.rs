//! Carries the planned faults out.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fault::{LlmFault, Part, PlannedLlmFault};
use super::site::LlmSite;

/// Carries faults out, each at its time after `start`, and returns when the last one is over.
pub(super) async fn inject(
    site: &Arc<LlmSite>,
    start: Instant,
    faults: Vec<PlannedLlmFault>,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for PlannedLlmFault { at, fault } in faults {
        let site = site.clone();
        running.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_millis(at)).await;
            carry_out(&site, fault).await
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Carries one fault out, until it is over.
async fn carry_out(site: &LlmSite, fault: LlmFault) -> anyhow::Result<()> {
    match fault {
        LlmFault::Kill(part, pause) => {
            let Some(mut slot) = site.free_part(part) else {
                return Ok(());
            };
            if let Some(process) = slot.as_mut() {
                process.kill().await;
            }
            tokio::time::sleep(pause).await;
            site.launch(part, &mut slot)?;
        }
        LlmFault::Terminate(pair) => {
            let part = Part::Worker(pair);
            let Some(mut slot) = site.free_part(part) else {
                return Ok(());
            };
            if let Some(process) = slot.as_mut() {
                process.terminate().await;
            }
            site.launch(part, &mut slot)?;
        }
        LlmFault::Pause(part, lasting) => {
            let slot = site.free_part(part);
            if let Some(process) = slot.as_ref().and_then(|slot| slot.as_ref()) {
                process.pause();
                tokio::time::sleep(lasting).await;
                process.resume();
            }
        }
        LlmFault::Cut(link) => site.link(link).cut(),
        LlmFault::Refuse(link, lasting) => {
            site.link(link).refuse();
            tokio::time::sleep(lasting).await;
            site.link(link).heal();
        }
        LlmFault::Traffic(link, traffic, direction, lasting) => {
            site.link(link).treat(direction, traffic);
            tokio::time::sleep(lasting).await;
            site.link(link).heal();
        }
    }
    Ok(())
}
