"""The composition root: builds all services from the configuration, starts them, and stops them in reverse order."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from starlette.applications import Starlette

from app import endpoints
from app.config import Config
from app.context import Services
from app.graphql.limits import Limits
from app.graphql.schema import build_schema
from app.memory import keep_giving_back, map_large_blocks, spare_collector
from app.models import migration
from app.models.database.database import Database, database_url
from app.models.provider_account import ProviderType
from app.services.agent.command_tools import CommandTools
from app.services.agent.engine import DurableRunEngine, RunEngine
from app.services.agent.file_tools import FileTools
from app.services.agent.loop import AgentLoop
from app.services.agent.publish_tools import PublishTools
from app.services.agent.tools import Toolbox
from app.services.attachment import AttachmentStore
from app.services.auth.authenticator import Authenticator, build_authenticator
from app.services.background import BackgroundTasks
from app.services.change_text import ChangeTextService
from app.services.clock import Clock, utc_now
from app.services.commit import CommitService
from app.services.conversation import ConversationService
from app.services.conversation_batch import ConversationBatchService
from app.services.download import DownloadService
from app.services.event import EventService
from app.services.export import LogExport
from app.services.git.base import GitProvider
from app.services.git.clone import GitCloner
from app.services.git.commit import Committer
from app.services.git.export import CommitExport
from app.services.git.providers import providers
from app.services.git.push import GitPusher
from app.services.git.sandboxed import SandboxGit
from app.services.git.working_tree import WorkingTreeReader
from app.services.housekeeping import Housekeeping
from app.services.lifecycle.attachments import MessageFiles
from app.services.lifecycle.title import TitleService
from app.services.llm.attached import AttachedImages
from app.services.llm.base import LLM
from app.services.llm.litellm import LiteLLM
from app.services.lock_file import LockFile
from app.services.outbound import private_allowed
from app.services.provider_account import ProviderAccountService
from app.services.pull_request import PullRequestService
from app.services.push.postgres import PostgresWakeups
from app.services.push.status_feed import StatusFeed
from app.services.push.wakeups import LocalWakeups, Wakeups
from app.services.pushed_branch import PushService
from app.services.read_mark import ReadMarkService
from app.services.repository import RepositoryService
from app.services.sandbox.shell import Shell, build_sandbox, command_limits
from app.services.secrets.box import SecretBox, open_secret_box, prepare_data_dir
from app.services.settings import SettingsService
from app.services.staged_upload import DIRECTORY as STAGED
from app.services.staged_upload import StagedUploads
from app.services.suggested_task import SuggestedTaskService
from app.services.ticket import Tickets
from app.services.tool_call import ToolCallService
from app.services.upload import UploadService
from app.services.workspace import ATTACHMENTS, WorkspaceService
from app.services.workspace_contents import WorkspaceContents
from app.services.workspace_feed import WorkspaceFeed

log = structlog.get_logger(__name__)


class Parley:
    """All services and background tasks, without HTTP. Tests pass fakes, such as a clock or an LLM."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock = utc_now,
        llm: LLM | None = None,
        git_providers: Mapping[ProviderType, GitProvider] | None = None,
        toolbox: Toolbox | None = None,
    ) -> None:
        self.config = config
        prepare_data_dir(config.data_dir)
        url = database_url(config)
        self.database = Database(url)
        self.wakeups: Wakeups = LocalWakeups() if self.database.is_sqlite else PostgresWakeups(url)
        self.authenticator: Authenticator = build_authenticator(config)
        attachments = AttachmentStore(config.data_dir / ATTACHMENTS)
        self.llm: LLM = AttachedImages(llm or LiteLLM(config), attachments)
        self.background = BackgroundTasks()
        # Only one process may use an SQLite database, or two would execute the same runs.
        self._lock = LockFile(Path(f"{url.database}.lock")) if self.database.is_sqlite else None
        self.git_providers = git_providers or providers(config)
        secret_box = open_secret_box(config)
        account = ProviderAccountService(self.database, self.git_providers, secret_box, clock)
        cloner = GitCloner(config)
        repository = RepositoryService(
            self.database, self.git_providers, account, clock, config.git_max_calls_per_request, cloner=cloner
        )
        settings = SettingsService(
            self.database,
            self.llm,
            secret_box,
            clock,
            accounts=account,
            private_base_urls=private_allowed(config),
        )
        self.shell = Shell(build_sandbox(config), command_limits(config))
        self.workspace = workspace = WorkspaceService(
            config.data_dir / "workspaces",
            self.database,
            clock,
            cloner=cloner,
            sources=repository,
            shell=self.shell,
        )
        contents = WorkspaceContents(workspace, WorkingTreeReader(self.shell))
        staged = StagedUploads(config.data_dir / STAGED, clock)
        message_files = MessageFiles(
            self.database,
            self.wakeups,
            store=attachments,
            staged=staged,
            workspace=workspace,
            workspace_bytes=config.workspace_max_bytes,
        )
        parts = _Parts(clock, secret_box, account, repository, settings, contents, attachments, staged, message_files)
        publishing = _Publishing(self, parts)
        self.pusher = publishing.pusher
        self.loop = self._build_loop(parts, publishing, toolbox)
        self.engine: RunEngine = DurableRunEngine(url, self.loop, self.wakeups)
        self.housekeeping = Housekeeping(
            self.database,
            self.wakeups,
            clock,
            self.engine,
            workspace,
            staged,
            idle_close_seconds=config.idle_close_seconds,
            run_history_seconds=config.run_history_seconds,
        )
        self.services = self._build_services(parts, publishing)

    def _build_loop(self, parts: "_Parts", publishing: "_Publishing", toolbox: Toolbox | None) -> AgentLoop:
        tools = [
            *CommandTools(self.shell, self.workspace.path).tools(),
            *FileTools(self.workspace.path, self.shell.limits).tools(),
            *PublishTools(publishing.commit, publishing.push, publishing.pull_request, parts.repository.budget).tools(),
        ]
        return AgentLoop(
            self.config,
            self.database,
            self.wakeups,
            parts.clock,
            llm=self.llm,
            settings=parts.settings,
            workspace=self.workspace,
            message_files=parts.message_files,
            toolbox=toolbox or Toolbox(tools, self.shell),
        )

    def _build_services(self, parts: "_Parts", publishing: "_Publishing") -> Services:
        config, clock, settings, contents = self.config, parts.clock, parts.settings, parts.contents
        suggested_task = SuggestedTaskService(self.git_providers, parts.account)
        export = LogExport(self.database, settings, clock)
        conversation = ConversationService(
            self.database,
            self.wakeups,
            clock,
            self.engine,
            settings=settings,
            export=export,
            message_files=parts.message_files,
            title=TitleService(self.database, self.llm, settings, clock, config.title_timeout_seconds),
            workspace=self.workspace,
            repository=parts.repository,
            tasks=suggested_task,
            background=self.background,
            max_concurrent=config.max_concurrent_conversations,
            max_age_seconds=config.conversation_max_age_seconds,
        )
        return Services(
            conversation=conversation,
            conversation_batch=ConversationBatchService(self.database, self.wakeups, clock, self.engine, conversation),
            event=EventService(self.database, self.wakeups),
            read_mark=ReadMarkService(self.database, self.wakeups, clock),
            status=StatusFeed(self.database, self.wakeups, clock, config.conversation_max_age_seconds),
            settings=settings,
            provider_account=parts.account,
            repository=parts.repository,
            suggested_task=suggested_task,
            tool_call=ToolCallService(self.database, self.wakeups, clock),
            workspace=contents,
            workspace_feed=WorkspaceFeed(self.database, self.wakeups, contents),
            download=self._build_download(parts, export),
            upload=self._build_upload(parts),
            commit=publishing.commit,
            push=publishing.push,
            pull_request=publishing.pull_request,
        )

    def _build_download(self, parts: "_Parts", export: LogExport) -> DownloadService:
        return DownloadService(
            self.database,
            Tickets(parts.secret_box, "download", parts.clock),
            parts.clock,
            workspace=parts.contents,
            export=export,
            attachments=parts.attachments,
            max_bytes=self.config.max_download_bytes,
        )

    def _build_upload(self, parts: "_Parts") -> UploadService:
        return UploadService(
            self.database,
            Tickets(parts.secret_box, "upload", parts.clock),
            parts.clock,
            self.wakeups,
            workspace=self.workspace,
            staged=parts.staged,
            max_bytes=self.config.max_upload_bytes,
            workspace_bytes=self.config.workspace_max_bytes,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Migrate the database and start everything; stop it when the block ends."""
        async with AsyncExitStack() as stack:
            if self._lock is not None:
                stack.enter_context(self._lock)
            stack.push_async_callback(self.database.close)
            await migration.upgrade(self.database)
            stack.push_async_callback(self.llm.close)
            for provider in self.git_providers.values():
                stack.push_async_callback(provider.close)
            await self.wakeups.start()
            stack.push_async_callback(self.wakeups.close)
            stack.push_async_callback(self.background.close)
            # The shell must be ready before the engine, which at once resumes runs that a crash interrupted.
            await self.shell.start()
            await self.pusher.sweep()
            stack.push_async_callback(self.engine.close)
            await self.engine.start()
            stack.push_async_callback(self.housekeeping.close)
            await self.housekeeping.start()
            spare_collector()
            map_large_blocks()
            self.background.start("memory", keep_giving_back())
            yield


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a ``Parley`` of which others are built, besides its own attributes."""

    clock: Clock
    secret_box: SecretBox
    account: ProviderAccountService
    repository: RepositoryService
    settings: SettingsService
    contents: WorkspaceContents
    attachments: AttachmentStore
    staged: StagedUploads
    message_files: MessageFiles


class _Publishing:
    """The services that commit, push and propose the changes in workspaces."""

    def __init__(self, parley: Parley, parts: _Parts) -> None:
        config = parley.config
        texts = ChangeTextService(parts.contents, parley.llm, parts.settings, config.title_timeout_seconds)
        sandbox_git = SandboxGit(parley.shell)
        self.commit = CommitService(
            parley.database,
            parley.wakeups,
            parts.clock,
            workspace=parley.workspace,
            contents=parts.contents,
            committer=Committer(sandbox_git),
            texts=texts,
            coauthor=config.commit_coauthor,
        )
        self.pusher = GitPusher(config, config.data_dir / "pushes")
        self.push = PushService(
            parley.database,
            parts.clock,
            workspace=parley.workspace,
            contents=parts.contents,
            repositories=parts.repository,
            export=CommitExport(sandbox_git, config.push_max_bytes),
            pusher=self.pusher,
            background=parley.background,
        )
        self.pull_request = PullRequestService(
            parley.database,
            parts.clock,
            workspace=parley.workspace,
            contents=parts.contents,
            repositories=parts.repository,
            texts=texts,
        )


def create_app(config: Config, *, parley: Parley | None = None) -> Starlette:
    """Create the ASGI application. Tests pass a ``parley`` that was built with fakes."""
    built = parley or Parley(config)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with built.running():
            yield

    return endpoints.application(
        config,
        schema=build_schema(_limits(config), config.request_timeout_seconds, is_compiled=config.compiled_execution),
        services=built.services,
        authenticator=built.authenticator,
        readiness={"database": built.database.ping, "engine": built.engine.ping},
        lifespan=lifespan,
    )


def _limits(config: Config) -> Limits:
    return Limits(
        length=config.max_document_length,
        tokens=config.max_document_tokens,
        depth=config.max_document_depth,
        aliases=config.max_document_aliases,
        directives=config.max_document_directives,
        root_fields=config.max_document_root_fields,
        cost=config.max_document_cost,
        introspection=config.introspection,
    )
