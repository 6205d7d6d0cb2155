export default function OverviewRoute() {
  return <main>Overview</main>
}
