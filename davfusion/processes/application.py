"""Opens the application that serves the shares."""

from __future__ import annotations

from collections.abc import Sequence

from davfusion.dav.app import DavFusionApp
from davfusion.dav.request import Authenticate, DavSettings, anonymous
from davfusion.processes.opening import OpenShare
from davfusion.settings import Config, ConfigError


def open_application(config: Config, shares: Sequence[OpenShare]) -> DavFusionApp:
    """The WSGI application that serves the shares where the settings want them."""
    return DavFusionApp({
        "/" if config.at_root else f"/{opened.settings.name}": opened.share for opened in shares},
        settings=dav_settings(config), authenticate=open_sign_in(config))


def dav_settings(config: Config) -> DavSettings:
    """What the application has to know of the settings."""
    return DavSettings(
        lock_timeout=config.lock_timeout, lock_timeout_max=config.lock_timeout_max,
        infinite_depth_limit=config.infinite_depth_limit, any_destination_host=config.any_destination_host)


def open_sign_in(config: Config) -> Authenticate:
    """Who may sign in, by the settings. Raises ConfigError when the users file cannot be used."""
    if config.users is None:
        return anonymous
    # Late, because most processes have no accounts, and hashing passwords takes libraries of its own.
    from davfusion.accounts.addresses import TrustedProxies
    from davfusion.accounts.errors import UsersFileError
    from davfusion.accounts.rights import Right
    from davfusion.accounts.sign_in import SignIn
    from davfusion.accounts.users_file import UsersFile

    try:
        return SignIn(UsersFile(config.users), proxies=TrustedProxies(config.trusted_proxies),
                      share_defaults={settings.name: Right(settings.access) for settings in config.share})
    except UsersFileError as error:
        raise ConfigError(str(error)) from error
