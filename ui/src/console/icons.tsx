// Line drawings, 20 by 20, in the colour of the text.
const PATHS = {
  overview: "M3 10.5 10 4l7 6.5M5 9v7.5h10V9",
  calls: "M5.5 3.5h2.2l1.1 3-1.6 1.2a9 9 0 0 0 5 5l1.2-1.6 3 1.1v2.2c0 .9-.7 1.6-1.6 1.5C8.9 15.3 4.7 11.1 4 5.1c-.1-.9.6-1.6 1.5-1.6Z",
  records: "M5 3.5h10v13H5zM7.5 7h5M7.5 10h5M7.5 13h3",
  registrations: "M4 13V6.5A1.5 1.5 0 0 1 5.5 5h9A1.5 1.5 0 0 1 16 6.5V13M2.5 15.5h15M8 15.5V13h4v2.5",
  users: "M10 10a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM4 16.5c.4-3 3-4.5 6-4.5s5.6 1.5 6 4.5",
  trunks: "M6 3.5v4m8 0v-4M4 7.5h12v3a4 4 0 0 1-4 4H8a4 4 0 0 1-4-4zM10 14.5v3",
  bans: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM5 5l10 10",
  route: "M5 16.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM15 7.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM7 14.5h4.5a2.8 2.8 0 0 0 0-5.5h-3a2.8 2.8 0 0 1 0-5.5H13",
  recordings: "M10 12.5a2.5 2.5 0 0 0 2.5-2.5V5.5a2.5 2.5 0 0 0-5 0V10a2.5 2.5 0 0 0 2.5 2.5ZM5 10a5 5 0 0 0 10 0M10 15v2.5",
  configuration: "M3.5 6h7m4 0h2M3.5 14h2m4 0h7M12.5 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM7.5 16a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  audit: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM10 6v4.2l2.8 1.7",
  operators: "M10 17c4-1.7 6-4.2 6-8V5l-6-2-6 2v4c0 3.8 2 6.3 6 8ZM7.5 9.8l1.8 1.8 3.3-3.5",
  account: "M12.5 11a4 4 0 1 0-3.8-2.7L3 14v3h3l1-1v-1.5h1.5l1.7-1.7M13.7 6.3h.01",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11Zm4-1.5 3.5 3.5",
  plus: "M10 4v12M4 10h12",
  close: "m5 5 10 10M15 5 5 15",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h13",
  sun: "M10 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM10 2.5V4m0 12v1.5M2.5 10H4m12 0h1.5M4.7 4.7l1 1m8.6 8.6 1 1m0-10.6-1 1m-8.6 8.6-1 1",
  moon: "M16.5 11.5A6.8 6.8 0 0 1 8.5 3.5a6.8 6.8 0 1 0 8 8Z",
  system: "M3 4.5h14v9H3zM7 16.5h6M10 13.5v3",
  leave: "M8 4H4.5v12H8M12 6.5 15.5 10 12 13.5M15 10H8",
  end: "M2.4 12.2c4.2-4.3 11-4.3 15.2 0 .3.3.3.8 0 1.1l-1.5 1.5a.9.9 0 0 1-1.1.1l-2.1-1.3a.9.9 0 0 1-.4-.7v-1.5a9.2 9.2 0 0 0-5 0v1.5c0 .3-.1.5-.4.7l-2.1 1.3a.9.9 0 0 1-1.1-.1l-1.5-1.5a.8.8 0 0 1 0-1.1Z",
  record: "M10 14a4 4 0 1 0 0-8 4 4 0 0 0 0 8Z",
  stop: "M6 6h8v8H6z",
  pause: "M7 5.5v9m6-9v9",
  play: "m7 5 8 5-8 5z",
  keypad: "M5 5h.01M10 5h.01M15 5h.01M5 10h.01M10 10h.01M15 10h.01M5 15h.01M10 15h.01M15 15h.01",
  back: "m12 4.5-5.5 5.5 5.5 5.5",
  edit: "m4 16 1-3.5L13.5 4 16 6.5 7.5 15z",
  remove: "M4.5 6h11M8 6V4h4v2M6 6l.7 10h6.6L14 6",
  check: "m4.5 10.5 3.5 3.5 7.5-8",
  cross: "m6 6 8 8m0-8-8 8",
  skip: "M5 10h10",
  warning: "M10 3.5 17.5 16h-15zM10 8v4m0 2h.01",
  up: "m5 12 5-5 5 5",
  down: "m5 8 5 5 5-5",
  download: "M10 3.5v9m-4-4 4 4 4-4M4 16.5h12",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 16 16" aria-hidden="true">
      <path d="M0 8h16M8 0v16" />
      <circle cx="8" cy="8" r="3.5" />
    </svg>
  );
}
