//! Keeps the shared authorities in their Secret and this replica's certificate in memory.
//!
//! Every replica does the same, and none leads: who comes second takes what the first wrote.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::{
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use prometheus::GaugeVec;
use tokio::{sync::watch, time};

use super::{Authorities, Clock, Identity, Validity, authority::Authority};

/// The share of its life, in hundredths, after which a certificate is made anew.
const RENEWED_AT: u32 = 66;
/// How often others may come first before it is left to the next look.
const ATTEMPTS: usize = 5;

/// Where things are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The namespace of the Secret.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// What it ends with, where it has to be made.
    pub owner: Option<OwnerReference>,
    /// The configuration by which API servers learn whom to trust.
    pub configuration: String,
    /// The names or addresses by which API servers call this replica.
    pub names: Vec<String>,
}

/// Keeps authorities and a certificate.
pub struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    place: Place,
    clock: Clock,
    every: Duration,
    identity: Arc<Identity>,
    bundle: watch::Sender<Option<String>>,
    expiry: GaugeVec,
    /// As they were last seen or written.
    authorities: Option<Authorities>,
    /// Who signed what is shown, and how long that is good.
    shown: Option<(Authority, Validity)>,
}

impl Keeper {
    /// Keeps `identity` good, and tells `bundle` whom API servers should trust. The clock is
    /// looked at `every` so often; `expiry` gets the times of expiry by `kind`.
    pub fn new(
        client: Client,
        place: Place,
        (clock, every): (Clock, Duration),
        identity: Arc<Identity>,
        bundle: watch::Sender<Option<String>>,
        expiry: GaugeVec,
    ) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &place.namespace),
            configurations: Api::all(client),
            place,
            clock,
            every,
            identity,
            bundle,
            expiry,
            authorities: None,
            shown: None,
        }
    }

    /// Works until dropped.
    pub async fn keep(mut self) {
        let named = format!("metadata.name={}", self.place.secret);
        let config = watcher::Config::default().fields(&named);
        let mut events = pin!(watcher::watcher(self.secrets.clone(), config).default_backoff());
        let mut looks = time::interval(self.every);
        let mut listed = None;
        let mut seen: Option<Option<Secret>> = None;
        loop {
            tokio::select! {
                Some(event) = events.next() => match event {
                    Ok(Event::Init) => listed = None,
                    Ok(Event::InitApply(secret)) => listed = Some(secret),
                    Ok(Event::InitDone) => seen = Some(listed.take()),
                    Ok(Event::Apply(secret)) => seen = Some(Some(secret)),
                    Ok(Event::Delete(_)) => seen = Some(None),
                    Err(error) => tracing::warn!("watch {}: {error}", self.secret()),
                },
                _ = looks.tick() => {}
            }
            if let Some(secret) = &mut seen {
                self.share(secret).await;
            }
            self.renew();
        }
    }

    fn secret(&self) -> String {
        format!("Secret {}/{}", self.place.namespace, self.place.secret)
    }

    /// Brings the Secret to what it should be now, and takes from it what others wrote.
    async fn share(&mut self, secret: &mut Option<Secret>) {
        for _ in 0..ATTEMPTS {
            let now = (self.clock)();
            let found = match secret.as_ref().map(Authorities::read) {
                Some(Ok(found)) => Some(found),
                Some(Err(error)) => {
                    tracing::warn!("{error} in {}; it is written anew", self.secret());
                    None
                }
                None => None,
            };
            let published = match &found {
                Some(found) if found.has_successor() => self.is_published(found).await,
                _ => false,
            };
            let wanted = match found.as_ref().or(self.authorities.as_ref()) {
                Some(base) => {
                    base.step(now, published).map(|then| then.or_else(|| Some(base.clone())))
                }
                None => Authorities::new(now).map(Some),
            };
            let wanted = match wanted {
                Ok(Some(wanted)) => wanted,
                Ok(None) => return,
                Err(error) => return tracing::error!("{error}"),
            };
            if found.as_ref() == Some(&wanted) {
                return self.adopt(wanted);
            }
            match self.write(secret.as_ref(), &wanted).await {
                Ok(written) => {
                    tracing::info!("wrote {}", self.secret());
                    *secret = Some(written);
                    return self.adopt(wanted);
                }
                // Another replica came first, or somebody took it away.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                    match self.secrets.get_opt(&self.place.secret).await {
                        Ok(now) => *secret = now,
                        Err(error) => return tracing::warn!("read {}: {error}", self.secret()),
                    }
                }
                Err(error) => return tracing::warn!("write {}: {error}", self.secret()),
            }
        }
        tracing::warn!("{} changes all the time", self.secret());
    }

    async fn write(&self, before: Option<&Secret>, wanted: &Authorities) -> kube::Result<Secret> {
        let mut secret = before.cloned().unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(self.place.secret.clone()),
                owner_references: self.place.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        });
        secret.data = Some(wanted.data());
        let params = PostParams::default();
        match before {
            // With the version that was read, so that nobody's writing is lost.
            Some(_) => self.secrets.replace(&self.place.secret, &params, &secret).await,
            None => self.secrets.create(&params, &secret).await,
        }
    }

    /// Whether API servers trust the successor: every webhook has it, or there is none.
    async fn is_published(&self, authorities: &Authorities) -> bool {
        match self.configurations.get_opt(&self.place.configuration).await {
            Ok(configuration) => {
                let webhooks = configuration.and_then(|it| it.webhooks).unwrap_or_default();
                webhooks.iter().all(|webhook| {
                    let bundle = webhook.client_config.ca_bundle.as_ref();
                    bundle.is_some_and(|it| it.0 == authorities.bundle().into_bytes())
                })
            }
            Err(error) => {
                tracing::warn!("read {}: {error}", self.place.configuration);
                false
            }
        }
    }

    fn adopt(&mut self, authorities: Authorities) {
        let bundle = Some(authorities.bundle());
        self.bundle.send_if_modified(|known| {
            let changed = *known != bundle;
            known.clone_from(&bundle);
            changed
        });
        self.authorities = Some(authorities);
    }

    /// Shows another certificate if it is time, whether the cluster can be reached or not.
    fn renew(&mut self) {
        let now = (self.clock)();
        let Some(authorities) = &self.authorities else { return };
        let signer = &authorities.current;
        let good = self.shown.as_ref().is_some_and(|(by, validity)| {
            by == signer && validity.holds(now) && !validity.is_past(RENEWED_AT, now)
        });
        if good {
            return;
        }
        match signer.sign(&self.place.names, now) {
            Ok((certified, validity)) => {
                self.identity.show(certified);
                let seconds = |validity: Validity| {
                    let until = validity.until.duration_since(std::time::UNIX_EPOCH);
                    until.unwrap_or_default().as_secs_f64()
                };
                let gauge = |kind: &str| self.expiry.with_label_values(&[kind]);
                gauge("authority").set(seconds(signer.validity));
                gauge("certificate").set(seconds(validity));
                self.shown = Some((signer.clone(), validity));
            }
            Err(error) => tracing::error!("{error}; the previous certificate stays in use"),
        }
    }
}
